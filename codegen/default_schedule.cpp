#include <algorithm>
#include <numeric>

#include "codegen/lower.h"
#include "ir/dims.h"
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

/// Threads for `elements`: whole warps, and not more than `most`; for a free dimension (0) one warp.
int threads_for(int64_t elements, int most) {
  int threads = 32;
  while (threads < most && threads < elements) threads *= 2;
  return threads;
}

/// The fewest bytes of an element that the kernel reads lanes of.
int64_t narrowest(const Graph& fused, int number, DimId lane) {
  size_t bytes = sizeof(float);
  for (const Node& node : fused.nodes()) {
    if (node.kernel != number) continue;
    for (NodeId o : node.operands)
      if (o.present() && fused.node(o).kernel != number && fused.node(o).type.has(lane))
        bytes = std::min(bytes, bytes_of(fused.node(o).type.dtype));
  }
  return static_cast<int64_t>(bytes);
}

constexpr int kThreadsOfSm = 512;  // as many as have 128 registers each
constexpr int kThreads = 128 * kThreadsOfSm;

/// Neighbours of a row that make 16 bytes, or fewer where whole warps of them do not fill rows.
int columns_for(const Graph& fused, int number, DimId lane) {
  constexpr int64_t kBytesAtOnce = 16;
  int columns = static_cast<int>(kBytesAtOnce / narrowest(fused, number, lane));
  while (columns > 1 && fused.dim(lane).size % (columns * 32) != 0) columns /= 2;
  return columns;
}

bool sums_lanes(const Graph& fused, int number, DimId lane) {
  return std::ranges::any_of(
      fused.nodes(), [&](const Node& node) { return node.kernel == number && contains(reduced_dims(node), lane); });
}

/// Rows of a fixed number, with sums over lanes: a matrix-vector product and what is fused with it. Few threads for
/// each, so that their sums need no barriers, but enough for all multiprocessors.
void map_fixed_rows(const Graph& fused, int number, Schedule& schedule) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  const int64_t lanes = fused.dim(group.lane).size;
  int64_t rows = 1;
  for (DimId d : group.outer) rows *= std::max<int64_t>(fused.dim(d).size, 1);
  schedule.row_blocks = static_cast<int>(fused.dim(group.outer.back()).size);
  schedule.columns = columns_for(fused, number, group.lane);
  schedule.width = 32;
  while (schedule.width < 256 && schedule.width * rows < kThreads &&
         lanes % (schedule.width * 2 * schedule.columns) == 0)
    schedule.width *= 2;
}

/// Rows of a number that is known at run time only: there are many. So many threads that few values of a row are in the
/// registers of each, and as many neighbours as that allows. What is too long for registers is read several times: few
/// rows at once stay in the cache in between, and much of each is on its way.
void map_many_rows(const Graph& fused, int number, Schedule& schedule) {
  constexpr int64_t kFewValues = 16, kLongRow = 32768;
  const DimId lane = fused.kernels[static_cast<size_t>(number)].lane;
  const int64_t lanes = fused.dim(lane).size;
  if (lanes >= kLongRow) {
    schedule.width = kThreadsOfSm;
    schedule.row_unroll = 16;
  }
  int64_t values = schedule.kept_vectors + 1;
  for (int columns = columns_for(fused, number, lane); columns > 1 && values > kFewValues; columns /= 2) {
    int width = 32;
    while (width < 256 && lanes / width > kFewValues && lanes % (width * 2 * columns) == 0) width *= 2;
    if (lanes / width >= values) continue;
    values = lanes / width;
    schedule.width = width;
    schedule.columns = columns;
  }
}

/// Where lanes are channels with loops of their own, few threads for each block.
void map_rows(const Graph& fused, int number, Schedule& schedule) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  if (group.lane == DimId{}) return;
  if (group.outer.size() <= 1 && !group.inner.empty() &&
      (group.outer.empty() || fused.dim(group.outer.back()).is_free()))
    schedule.width = 32;
  else if (!group.outer.empty() && !fused.dim(group.outer.back()).is_free() && sums_lanes(fused, number, group.lane))
    map_fixed_rows(fused, number, schedule);
  else if (!group.outer.empty() && fused.dim(group.outer.back()).is_free() && group.inner.empty())
    map_many_rows(fused, number, schedule);
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
  schedule.blocks_per_task = 1;
  schedule.slots_per_task = 32;
  if (group.kind == KernelGroup::walk) {
    schedule.width = threads_for(lanes, 128);
    schedule.tile = tile_for(fused, number, 8);
    schedule.states_in_registers = true;
    schedule.staged = true;
  } else {
    schedule.width = threads_for(lanes, 256);
    schedule.rows_per_task = 1;
    schedule.rows_together = 1;
    schedule.kept_vectors = 64;
    map_rows(fused, number, schedule);
    schedule.summing_tasks = kThreads / schedule.width;  // all of them run at once
    schedule.blocks_per_sm = kThreadsOfSm / schedule.width;
  }
  return schedule;
}

}  // namespace mambac
