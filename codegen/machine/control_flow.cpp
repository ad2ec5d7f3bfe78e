#include "codegen/machine/control_flow.h"

#include <algorithm>
#include <utility>

namespace mambac::machine {

ControlFlow::ControlFlow(const std::vector<Instruction>& code) : code_(code) {
  make_blocks();
  find_dominators();
  find_ends();
  find_loops();
}

bool ControlFlow::calls(size_t b) const {
  return code_[blocks_[b].end - 1].flow == Flow::call;
}

std::vector<size_t> ControlFlow::called(size_t b) const {
  return reached(next_, block_at_.at(static_cast<size_t>(code_[blocks_[b].end - 1].targets[0])));
}

/// `before`: of each place, where its ways come from; `order`: all places that are reached from order[0], the start.
ControlFlow::Passed ControlFlow::passed(const Ways& before, const std::vector<size_t>& order) {
  const size_t count = before.size();
  Passed all(count, std::vector<bool>(count, false));
  for (size_t b : order) all[b].assign(count, b != order[0]);
  all[order[0]][order[0]] = true;
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t b : order) {
      if (b == order[0]) continue;
      std::vector<bool> common(count, true);
      for (size_t p : before[b])
        if (all[p][p])  // it is reached itself
          for (size_t d = 0; d < count; ++d) common[d] = common[d] && all[p][d];
      common[b] = true;
      if (common != all[b]) changed = true, all[b] = std::move(common);
    }
  }
  return all;
}

std::vector<size_t> ControlFlow::reached(const Ways& next, size_t from) {
  std::set<size_t> seen{from};
  std::vector<size_t> list{from};
  for (size_t i = 0; i < list.size(); ++i)
    for (size_t to : next[list[i]])
      if (seen.insert(to).second) list.push_back(to);
  return list;
}

void ControlFlow::make_blocks() {
  std::set<size_t> begins{0};
  for (size_t i = 0; i < code_.size(); ++i) {
    for (int target : code_[i].targets) begins.insert(static_cast<size_t>(target));
    if (code_[i].flow != Flow::next && i + 1 < code_.size()) begins.insert(i + 1);
  }
  for (size_t begin : begins) {
    if (!blocks_.empty()) blocks_.back().end = begin;
    block_at_[begin] = blocks_.size();
    blocks_.push_back({begin, code_.size()});
  }
  next_.resize(blocks_.size());
  before_.resize(blocks_.size());
  for (size_t b = 0; b < blocks_.size(); ++b) connect(b);
}

void ControlFlow::connect(size_t b) {
  const Instruction& last = code_[blocks_[b].end - 1];
  const auto edge = [&](size_t to) {
    next_[b].push_back(to);
    before_[to].push_back(b);
  };
  if (last.flow == Flow::branch)
    for (int target : last.targets) edge(block_at_.at(static_cast<size_t>(target)));
  const bool stops = last.flow == Flow::branch || last.flow == Flow::end;
  if ((!stops || last.conditional) && b + 1 < blocks_.size()) edge(b + 1);
}

void ControlFlow::find_dominators() {
  order_ = reached(next_, 0);
  passed_before_ = passed(before_, order_);
  std::vector<size_t> depth(count(), 0);
  for (size_t b : order_)
    depth[b] = static_cast<size_t>(std::count(passed_before_[b].begin(), passed_before_[b].end(), true));
  std::sort(order_.begin(), order_.end(), [&](size_t a, size_t b) { return depth[a] < depth[b]; });
  dominator_.assign(count(), 0);
  for (size_t b : order_)
    for (size_t d : order_)
      if (d != b && dominates(d, b) && depth[d] > depth[dominator_[b]]) dominator_[b] = d;
}

/// The same backwards, from one place behind all ends.
void ControlFlow::find_ends() {
  Ways behind = next_, front = before_;
  behind.emplace_back();
  front.emplace_back();
  for (size_t b : order_) {
    if (code_[blocks_[b].end - 1].flow != Flow::end) continue;
    behind[b].push_back(count());
    front[count()].push_back(b);
  }
  passed_behind_ = passed(behind, reached(front, count()));
}

void ControlFlow::find_loops() {
  std::map<size_t, Loop> by_head;
  for (size_t b : order_)
    for (size_t head : next_[b])
      if (dominates(head, b)) add_body(by_head[head], head, b);
  for (auto& [head, loop] : by_head) loops_.push_back(std::move(loop));
  std::sort(loops_.begin(), loops_.end(),
            [](const Loop& a, const Loop& b) { return a.blocks.size() < b.blocks.size(); });
  loops_of_.resize(count());
  for (size_t i = 0; i < loops_.size(); ++i)
    for (size_t b : loops_[i].blocks) loops_of_[b].push_back(i);
}

/// What reaches the branch back without passing the head.
void ControlFlow::add_body(Loop& loop, size_t head, size_t last) const {
  loop.head = head;
  loop.blocks.insert(head);
  std::vector<size_t> open{last};
  while (!open.empty()) {
    const size_t b = open.back();
    open.pop_back();
    if (loop.blocks.insert(b).second) open.insert(open.end(), before_[b].begin(), before_[b].end());
  }
}

}  // namespace mambac::machine
