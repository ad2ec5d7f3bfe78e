#include <algorithm>
#include <numeric>

#include "codegen/lower.h"
#include "ir/dims.h"
#include "ir/op.h"
#include "passes/lanes.h"

namespace mambac {

namespace {

/// The tile that a walk's stored states allow, `wanted` at most where there is a choice.
int tile_for(const Graph& fused, int number, int wanted) {
  for (const Node& node : fused.nodes()) {
    if (node.kernel != number || !is_directional(node.op)) continue;
    const auto interval = [&](const Node& chunk_starts) {
      return static_cast<int>(fused.dim(chunk_starts.attrs.dims[1]).divisor);
    };
    if (node.op == Op::ChunkStarts)
      wanted = std::gcd(wanted, interval(node));  // states are stored where tiles begin
    else if (operand(node, "resume").present())
      return interval(fused.node(operand(node, "resume")));  // a resumed recurrence restarts at every tile
  }
  return wanted;
}

int64_t elements_without(const Graph& fused, const Type& type, DimId without) {
  int64_t elements = 1;
  for (DimId d : static_dims(fused, type))
    if (d != without) elements *= fused.dim(d).size;
  return elements;
}

/// The steps of a task on a GPU, where tasks may share the length: many tasks, each long enough that what they compute
/// twice (the steps before) and leave for a later stage (sums over time) is little beside it. Neither batch nor length
/// is known yet, so this is a number of steps, not of tasks.
int steps_per_task(const Graph& fused, int number, int tile) {
  const std::optional<int64_t> remembered = steps_remembered(fused, number);
  if (!remembered) return 0;
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  int64_t left = 0;  // by each lane
  for (const Node& node : fused.nodes())
    if (node.kernel == number && contains(reduced_dims(node), group.along))
      left += elements_without(fused, node.type, group.lane);
  const int64_t twice = (*remembered + tile - 1) / tile * tile;
  const int64_t steps = std::max({int64_t{64}, 16 * twice, 16 * left});
  return static_cast<int>((steps + tile - 1) / tile * tile);
}

/// Threads for `elements`: whole warps, and not more than `most`; for a free dimension (0) one warp.
int threads_for(int64_t elements, int most) {
  int threads = 32;
  while (threads < most && threads < elements) threads *= 2;
  return threads;
}

}  // namespace

Schedule default_schedule(const Graph& fused, int number, int width) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  Schedule schedule;
  schedule.width = width;
  schedule.tile = 8;
  schedule.unroll = 8;
  if (group.kind == KernelGroup::walk && group.lane != DimId{}) {
    // Two tasks for each sequence: rows of memory stay long, so that they can be read ahead.
    const int64_t blocks = (fused.dim(group.lane).size + width - 1) / width;
    schedule.blocks_per_task = static_cast<int>(std::clamp<int64_t>((blocks + 1) / 2, 1, 48));
  }
  schedule.tile = tile_for(fused, number, schedule.tile);
  if (group.kind == KernelGroup::rows && !group.outer.empty()) {
    // Short rows: many per task, so that a task is worth its start. With inner loops a row is one vector of lanes.
    int64_t elements = group.lane == DimId{} ? 1 : fused.dim(group.lane).size;
    if (!group.inner.empty()) elements = width;
    for (DimId d : group.inner) elements *= fused.dim(d).size;
    const int64_t per_task = group.inner.empty() ? 8192 : 2048;
    schedule.rows_per_task = static_cast<int>(std::clamp<int64_t>(per_task / elements, 1, 256));
  }
  return schedule;
}

Schedule default_gpu_schedule(const Graph& fused, int number) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  const int64_t lanes = group.lane == DimId{} ? 1 : fused.dim(group.lane).size;
  Schedule schedule;
  schedule.ahead = 0;
  schedule.unroll = 8;
  if (group.kind == KernelGroup::walk) {
    schedule.width = threads_for(lanes, 128);
    schedule.tile = tile_for(fused, number, 8);
    schedule.blocks_per_task = 1;
    schedule.states_in_registers = true;
    schedule.staged = true;
    schedule.tiles_ahead = 1;
    schedule.steps_per_task = steps_per_task(fused, number, schedule.tile);
  } else {
    schedule.width = threads_for(lanes, 256);
    schedule.rows_per_task = 1;
  }
  return schedule;
}

}  // namespace mambac
