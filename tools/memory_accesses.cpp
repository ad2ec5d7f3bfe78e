#include "tools/memory_accesses.h"

#include <algorithm>
#include <ranges>

namespace mambac::tools {

using loop::Stmt;
using loop::StmtKind;

MemoryAccesses::MemoryAccesses(const loop::Kernel& kernel, const loop::Stage& stage, int64_t task, int64_t neighbours,
                               const std::vector<int64_t>& sizes)
    : kernel_(kernel),
      stage_(stage),
      neighbours_(neighbours),
      sizes_(sizes),
      vars_(static_cast<size_t>(stage.vars), 0) {
  vars_[static_cast<size_t>(stage.task)] = task;
  tasks_.var = stage.task;
  around_.push_back({&tasks_, static_cast<double>(neighbours)});
  walk(stage.body);
}

void MemoryAccesses::walk(const loop::Block& block) {
  for (const Stmt& s : block) {
    if (s.kind == StmtKind::If) walk(value(s.begin) < value(s.end) ? s.body : s.otherwise);
    if (s.kind == StmtKind::For) iterate(s);
    if (s.kind == StmtKind::Load || s.kind == StmtKind::Store || s.kind == StmtKind::LoadBlock ||
        s.kind == StmtKind::StoreBlock)
      access(s);
    if (s.kind == StmtKind::LoadArray || s.kind == StmtKind::StoreArray) access_array(s);
  }
}

void MemoryAccesses::iterate(const Stmt& s) {
  const int64_t begin = value(s.begin), end = value(s.end);
  if (begin >= end) return;
  vars_[static_cast<size_t>(s.var)] = begin;
  around_.push_back({&s, static_cast<double>((end - begin + s.step - 1) / s.step)});
  walk(s.body);
  around_.pop_back();
}

/// Bytes from one iteration of a loop to the next one, in which loops within may begin elsewhere.
double MemoryAccesses::stride(const Stmt& s, const AroundLoop& loop, double element) {
  const std::vector<int64_t> here = vars_;
  vars_[static_cast<size_t>(loop.loop->var)] += loop.loop->step;
  auto within = std::ranges::find(around_, loop.loop, &AroundLoop::loop);
  for (++within; within != around_.end(); ++within)
    vars_[static_cast<size_t>(within->loop->var)] = value(within->loop->begin);
  const int64_t there = value(s.offset);
  vars_ = here;
  return element * static_cast<double>(there - value(s.offset));
}

void MemoryAccesses::access(const Stmt& s) {
  const auto element = static_cast<double>(bytes_of(kernel_.buffers[static_cast<size_t>(s.buffer)].dtype));
  const bool block = s.kind == StmtKind::LoadBlock || s.kind == StmtKind::StoreBlock;
  const bool lanes = block || s.lane_stride != nullptr;
  const bool stores = s.kind == StmtKind::Store || s.kind == StmtKind::StoreBlock;
  const double elements = (lanes ? kernel_.schedule.width : 1) * static_cast<double>(block ? s.columns : 1);
  add(s, {.of_array = false, .stores = stores, .buffer = s.buffer, .offset = 0, .bytes = element * elements}, element);
}

void MemoryAccesses::access_array(const Stmt& s) {
  const loop::Array& array = stage_.arrays[static_cast<size_t>(s.buffer)];
  if (array.space != loop::Space::scratch) return;
  const double element = sizeof(float) * (array.lanes ? static_cast<double>(kernel_.schedule.width) : 1);
  const bool stores = s.kind == StmtKind::StoreArray;
  add(s, {.of_array = true, .stores = stores, .buffer = s.buffer, .offset = 0, .bytes = element}, element);
}

void MemoryAccesses::add(const Stmt& s, MemoryAccess one, double element) {
  one.offset = static_cast<double>(value(s.offset)) * element;
  for (const AroundLoop& loop : around_) {
    one.times *= loop.trips;
    one.around.push_back(loop);
    const double step = stride(s, loop, element);
    if (step != 0) one.moving.push_back({loop.loop, loop.trips, step});
  }
  found_.push_back(std::move(one));
}

bool is_same_place(const MemoryAccess& a, const MemoryAccess& b) {
  return a.of_array == b.of_array && a.buffer == b.buffer;
}

size_t shared_loops(const MemoryAccess& a, const MemoryAccess& b) {
  size_t shared = 0;
  while (shared < a.around.size() && shared < b.around.size() && a.around[shared].loop == b.around[shared].loop)
    ++shared;
  return shared;
}

bool moves_with(const MemoryAccess& one, const AroundLoop& loop) {
  return std::ranges::find(one.moving, loop.loop, &MovingLoop::loop) != one.moving.end();
}

double bytes_within(const MemoryAccess& one, size_t loops) {
  double bytes = one.bytes;
  for (const AroundLoop& loop : one.around | std::views::drop(loops))
    if (moves_with(one, loop)) bytes *= loop.trips;
  return bytes;
}

Extent extent_within(const MemoryAccess& one, size_t loops) {
  Extent found{one.offset, one.offset + one.bytes};
  for (const AroundLoop& loop : one.around | std::views::drop(loops))
    for (const MovingLoop& moving : one.moving)
      if (moving.loop == loop.loop) (moving.step < 0 ? found.begin : found.end) += (moving.trips - 1) * moving.step;
  return found;
}

}  // namespace mambac::tools
