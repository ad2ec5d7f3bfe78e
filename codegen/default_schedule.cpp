#include <algorithm>
#include <numeric>

#include "codegen/lower.h"
#include "ir/dims.h"
#include "ir/op.h"
#include "passes/lanes.h"
#include "passes/part_sums.h"

namespace mambac {

namespace {

/// The tile that a walk's stored states allow, `wanted` at most where there is a choice.
int tile_for(const Graph& fused, int number, int wanted) {
  for (const Node& node : fused.nodes()) {
    if (node.kernel != number || !is_directional(node.op)) continue;
    if (node.op == Op::ChunkStarts)
      wanted = std::gcd(wanted, stored_interval(fused, node));  // states are stored where tiles begin
    else if (operand(node, "resume").present())  // a resumed recurrence restarts at every tile
      return stored_interval(fused, fused.node(operand(node, "resume")));
  }
  return wanted;
}

/// Instructions of the op, for all of those of its dimensions that are in `dims`; free ones count as 1. What exp and
/// its like are made of counts as 16.
double instructions_of(const Graph& fused, const Node& node, const std::vector<DimId>& dims) {
  constexpr int kOfExponential = 16;
  double all = std::max(1, info(node.op).flops) + kOfExponential * info(node.op).exponentials;
  for (const DimId d : dims)
    if (node.type.has(d) || contains(reduced_dims(node), d))
      all *= static_cast<double>(std::max<int64_t>(1, fused.dim(d).size));
  return all;
}

/// Steps of a sweep that are written out: fewer of a kernel of many ops, whose compilation takes longer than its code
/// grows and which has work for all pipes in one step.
int steps_written_out(const Graph& fused, int number) {
  constexpr int kMost = 8;
  constexpr double kInstructions = 16384;
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  if (group.kind != KernelGroup::walk) return kMost;
  double instructions = 1;
  for (const Node& node : fused.nodes())
    if (node.kernel == number) instructions += instructions_of(fused, node, group.inner);
  int steps = kMost;
  while (steps > 1 && steps * instructions > kInstructions) steps /= 2;
  return steps;
}

/// States of a channel's recurrences.
int64_t states_of_channel(const Graph& fused, int number) {
  int64_t states = 0;
  for (const Node& node : fused.nodes()) {
    if (node.kernel != number || node.op != Op::Scan) continue;
    int64_t of_scan = 1;
    for (const DimId d : fused.kernels[static_cast<size_t>(number)].inner)
      if (node.type.has(d)) of_scan *= fused.dim(d).size;
    states += of_scan;
  }
  return states;
}

/// Of more than so many, the states and what is computed of them spill the 255 registers of a thread, and what is
/// written out for each state takes a compiler minutes.
constexpr int64_t kMostStatesOfLane = 64;

/// Two lanes for a channel with many states: B * D channels are few threads for a GPU, and half the states leave
/// registers to those that wait for memory. More lanes where that is still many.
void place_states(const Graph& fused, int number, Schedule& schedule) {
  constexpr int64_t kManyStates = 8, kStatesOfLane = 32;
  schedule.states_in_registers = true;
  const int64_t states = states_of_channel(fused, number);
  const DimId shared = shared_dim(fused, number);
  const bool many = shared != DimId{} && fused.dim(shared).size >= kManyStates;
  Schedule split = schedule;
  for (split.pieces = 2; many && can_split(fused, number, split); split.pieces *= 2) {
    schedule.pieces = split.pieces;
    if (states <= split.pieces * kStatesOfLane) break;
  }
  if (states <= schedule.pieces * kMostStatesOfLane) return;
  schedule.states_in_registers = false;
  schedule.pieces = 1;
}

int64_t elements_without(const Graph& fused, const Type& type, DimId without) {
  int64_t elements = 1;
  for (DimId d : static_dims(fused, type))
    if (d != without) elements *= fused.dim(d).size;
  return elements;
}

/// The steps of a task where tasks may share the length: many tasks, each long enough that what they compute
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
  const int64_t steps = std::max({int64_t{64}, 16 * twice, 32 * left});
  return static_cast<int>((steps + tile - 1) / tile * tile);
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

/// Elements of so many bytes that a thread reads at once.
int columns_of(int64_t bytes) {
  constexpr int64_t kBytesAtOnce = 16;
  return static_cast<int>(kBytesAtOnce / bytes);
}

/// Neighbours of a row that make 16 bytes, or fewer where whole warps of them do not fill rows.
int columns_for(const Graph& fused, int number, DimId lane) {
  int columns = columns_of(narrowest(fused, number, lane));
  while (columns > 1 && fused.dim(lane).size % (columns * 32) != 0) columns /= 2;
  return columns;
}

bool sums_lanes(const Graph& fused, int number, DimId lane) {
  return std::ranges::any_of(
      fused.nodes(), [&](const Node& node) { return node.kernel == number && contains(reduced_dims(node), lane); });
}

/// Warps of a block that has a multiprocessor to itself: so many that each thread has 128 registers, or twice these
/// where it has more values of a row than so many, which it keeps from one phase to the next.
constexpr int64_t kMostTeams = kThreadsOfSm / 32, kManyValues = 40;

/// Rows whose sums a block leaves; 0: it leaves none.
int64_t part_of_rows(const Graph& fused, int number) {
  for (const Node& node : fused.nodes())
    if (node.kernel == number && node.op == Op::PartDot)
      return fused.dim(node.attrs.dims[0]).size / fused.dim(node.attrs.dims[1]).size;
  return 0;
}

/// Channels of a kernel that adds up what other kernels left. Each of its blocks adds up all, so they are few and have
/// many threads for that; but few of these have channels, since all blocks together are to reach many multiprocessors.
void map_sums_of_parts(const Graph& fused, int number, Schedule& schedule) {
  constexpr int kTeams = 8, kTeamsWithChannels = 1, kTermsInFlight = 64;
  schedule.width = 32;
  schedule.begins_early = true;
  schedule.teams = kTeams;
  schedule.rows_per_task = kTeamsWithChannels;
  schedule.columns = columns_of(narrowest(fused, number, fused.kernels[static_cast<size_t>(number)].lane));
  const int64_t parts = fused.dim(parts_added_by(fused, number)).size;
  schedule.inner_unroll = static_cast<int>(std::min<int64_t>(parts, kTermsInFlight));
  while (parts % schedule.inner_unroll != 0) --schedule.inner_unroll;
}

/// Of a kernel that takes so little time that it pays to begin while the one before ends.
constexpr int64_t kFewRows = 16384;

/// Rows of a fixed number, with sums over lanes: a matrix-vector product and what is fused with it. Few threads for
/// each, so that their sums need no barriers, but enough for all multiprocessors.
void map_fixed_rows(const Graph& fused, int number, Schedule& schedule) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  const int64_t lanes = fused.dim(group.lane).size;
  int64_t rows = 1;
  for (DimId d : group.outer) rows *= std::max<int64_t>(fused.dim(d).size, 1);
  schedule.row_blocks = static_cast<int>(fused.dim(group.outer.back()).size);
  schedule.begins_early = rows <= kFewRows;
  schedule.columns = columns_for(fused, number, group.lane);
  schedule.width = 32;
  if (const int64_t part = part_of_rows(fused, number); part > 0) {
    schedule.columns = std::max(1, schedule.columns / 2);  // more loads of half the size, in flight at once
    schedule.teams =
        static_cast<int>(std::min(part, lanes / schedule.width <= kManyValues ? kMostTeams : kMostTeams / 2));
    return;
  }
  while (schedule.width < 256 && schedule.width * rows < kThreads &&
         lanes % (schedule.width * 2 * schedule.columns) == 0)
    schedule.width *= 2;
}

/// Rows of a number that is known at run time only: there are many. So many threads that few values of a row are in the
/// registers of each, and as many neighbours as that allows. What is too long for registers is read several times: few
/// rows at once stay in the cache in between, and much of each is on its way. A block has so many short rows that it is
/// worth its start.
void map_many_rows(const Graph& fused, int number, Schedule& schedule) {
  constexpr int64_t kFewValues = 16, kLongRow = 32768, kElementsOfBlock = 256;
  const DimId lane = fused.kernels[static_cast<size_t>(number)].lane;
  const int64_t lanes = fused.dim(lane).size;
  schedule.rows_per_task = static_cast<int>(std::max<int64_t>(1, kElementsOfBlock / lanes));
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

/// Tasks share it. Few of a thread's values are on their way, so there are more threads, with 32 registers each.
bool is_one_row(const KernelGroup& group) { return group.outer.empty() && group.inner.empty(); }
constexpr int kFewRegisters = 4;

/// Where lanes are channels with loops of their own, few threads for each block.
void map_rows(const Graph& fused, int number, Schedule& schedule) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  if (group.lane == DimId{}) return;
  if (is_one_row(group)) schedule.columns = columns_for(fused, number, group.lane);
  const bool fixed = !group.outer.empty() && !fused.dim(group.outer.back()).is_free();
  if (parts_added_by(fused, number) != DimId{} && group.outer.size() <= 1 && !group.inner.empty())
    map_sums_of_parts(fused, number, schedule);
  else if (group.outer.size() <= 1 && !group.inner.empty() && !fixed)
    schedule.width = 32;
  else if (fixed && sums_lanes(fused, number, group.lane)) map_fixed_rows(fused, number, schedule);
  else if (!fixed && !group.outer.empty() && group.inner.empty()) map_many_rows(fused, number, schedule);
}

constexpr int64_t kMostStatesOfBlock = 16;  // of 32 registers

/// Whether all that a lane block carries from step to step fits registers: scans with one inner dimension, and no other
/// recurrence, nor states that are stored at tiles.
bool states_fit_registers(const Graph& fused, int number) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  if (group.inner.size() != 1 || !can_keep_states_in_registers(fused, number)) return false;
  for (const Node& node : fused.nodes())
    if (node.kernel == number && is_directional(node.op) &&
        (node.op != Op::Scan || operand(node, "resume").present()))
      return false;
  return states_of_channel(fused, number) <= kMostStatesOfBlock;
}

/// The plain walk: each step by itself, and one lane block through all of them. Where vectors take two cycles, the steps
/// and states that a processor looks ahead at are enough for its pipes, and tiles only load and store states.
void walk_plainly(Schedule& schedule) {
  schedule.states_in_registers = true;
  schedule.tile = 1;
  schedule.interleave = 12;
}

/// So many of a row, and prefetchers see several rows as one piece of memory.
constexpr int64_t kNearLanes = 256;

/// Where rows are so short that prefetchers see several of them as one piece of memory, one lane block walks all steps,
/// and its states never leave their registers.
void walk_near_rows(const Graph& fused, int number, Schedule& schedule) {
  const int64_t lanes = fused.dim(fused.kernels[static_cast<size_t>(number)].lane).size;
  if (lanes > kNearLanes || states_of_channel(fused, number) > kMostStatesOfBlock) return;
  Schedule near = schedule;
  near.states_in_registers = true;
  near.tile = tile_for(fused, number, 4);
  if (why_illegal(fused, number, near, DeviceKind::cpu).empty()) schedule = near;
}

/// Where tasks may share the length they have whole rows: of two that share a row, each has its prefetchers take lines
/// from the other that it is just writing.
void share_length(const Graph& fused, int number, int64_t blocks, Schedule& schedule) {
  Schedule shared = schedule;
  shared.steps_per_task = steps_per_task(fused, number, schedule.tile);
  if (shared.steps_per_task == 0) return;
  shared.blocks_per_task = static_cast<int>(blocks);
  if (why_illegal(fused, number, shared, DeviceKind::cpu).empty()) schedule = shared;
}

/// A walk without scans only moves memory. The rows of a tile are read and written side by side, in each buffer: of
/// eight, more than prefetchers follow and than a set of the L1 cache has lines for.
constexpr int kRowsSideBySide = 4;

/// Two tasks for each sequence, or four or eight of equal size: rows of memory stay long, so that they can be read
/// ahead, and what each task carries stays near. A forward walk, which a prompt runs by itself, has shorter ones: a
/// thread that has two of them one after the other is not beside the lines that another thread is just writing.
int blocks_per_task(const Graph& fused, int number, int64_t blocks) {
  const int64_t most = fused.kernels[static_cast<size_t>(number)].reverse ? 48 : 32;
  int64_t tasks = 2;
  while (blocks > tasks * most) tasks *= 2;
  return static_cast<int>(std::max<int64_t>(1, (blocks + tasks - 1) / tasks));  // a walk may have no lanes
}

void map_walk(const Graph& fused, int number, const CpuTraits& cpu, Schedule& schedule) {
  const int64_t lanes = fused.dim(fused.kernels[static_cast<size_t>(number)].lane).size;
  const int64_t blocks = (lanes + cpu.width - 1) / cpu.width;
  const bool scans = states_of_channel(fused, number) > 0;
  if (!scans) schedule.tile = tile_for(fused, number, kRowsSideBySide);
  schedule.blocks_per_task = blocks_per_task(fused, number, blocks);
  if (cpu.halves_vectors && states_fit_registers(fused, number)) walk_plainly(schedule);
  else if (!cpu.halves_vectors || !scans) walk_near_rows(fused, number, schedule);
  share_length(fused, number, blocks, schedule);
}

bool has_exponentials(const Graph& fused, int number) {
  const DimId lane = fused.kernels[static_cast<size_t>(number)].lane;
  return std::ranges::any_of(fused.nodes(), [&](const Node& node) {
    return node.kernel == number && node.type.has(lane) && info(node.op).exponentials > 0;
  });
}

/// Rows with sums over lanes that share much, those of a matrix, or nothing. Then they wait for memory, which comes
/// fastest in one piece; but where there are exponentials, too, several at a time keep the pipes busy: short rows,
/// which are near each other, and rows that are so long that prefetchers seldom have to find the next one.
int rows_together(const Graph& fused, int number) {
  constexpr int64_t kLongRow = 8192, kMostRows = 4;
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  if (group.lane == DimId{} || !sums_lanes(fused, number, group.lane) || !fused.dim(group.outer.back()).is_free())
    return kMostRows;
  if (!has_exponentials(fused, number)) return 1;
  const int64_t lanes = fused.dim(group.lane).size;
  return static_cast<int>(lanes < kLongRow ? std::clamp(kNearLanes / lanes, int64_t{1}, kMostRows) : kMostRows);
}

/// Instructions of a kernel for vectors of lanes, where free dimensions, which are outer ones even of sums over them,
/// count as 1.
double vector_instructions(const Graph& fused, int number, int width) {
  const DimId lane = fused.kernels[static_cast<size_t>(number)].lane;
  double all = 0;
  for (const Node& node : fused.nodes()) {
    if (node.kernel != number) continue;
    std::vector<DimId> dims = reduced_dims(node);
    dims.insert(dims.end(), node.type.dims.begin(), node.type.dims.end());
    all += instructions_of(fused, node, dims) / (contains(dims, lane) ? width : 1);
  }
  return all;
}

/// Rows that are worth the start of a task: many short ones, and of a fixed number so many times all of them as one
/// thread computes before others have begun. With inner loops a row is one vector of lanes.
int rows_per_task(const Graph& fused, int number, int width) {
  constexpr double kInstructionsOfLaunch = 8192;
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  int64_t elements = group.inner.empty() ? 1 : width, rows = 1;
  if (group.inner.empty() && group.lane != DimId{}) elements = fused.dim(group.lane).size;
  for (DimId d : group.inner) elements *= fused.dim(d).size;
  for (DimId d : group.outer) rows *= std::max<int64_t>(1, fused.dim(d).size);
  const int64_t short_ones = std::clamp<int64_t>((group.inner.empty() ? 8192 : 2048) / elements, 1, 256);
  if (rows > 1) rows *= static_cast<int64_t>(kInstructionsOfLaunch / vector_instructions(fused, number, width));
  return static_cast<int>(std::max(short_ones, rows));
}

}  // namespace

Schedule default_schedule(const Graph& fused, int number, const CpuTraits& cpu) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  if (group.kind == KernelGroup::library) return {};
  Schedule schedule;
  schedule.width = cpu.width;
  schedule.tile = tile_for(fused, number, 8);
  schedule.unroll = steps_written_out(fused, number);
  if (group.kind == KernelGroup::walk && group.lane != DimId{}) map_walk(fused, number, cpu, schedule);
  if (group.kind == KernelGroup::rows && !group.outer.empty()) {
    schedule.rows_together = rows_together(fused, number);
    schedule.rows_per_task = rows_per_task(fused, number, cpu.width);
  }
  return schedule;
}

Schedule default_gpu_schedule(const Graph& fused, int number) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  const int64_t lanes = group.lane == DimId{} ? 1 : fused.dim(group.lane).size;
  if (group.kind == KernelGroup::library) return {.width = 32};  // which is in the bounds
  Schedule schedule;
  schedule.ahead = 0;
  schedule.unroll = steps_written_out(fused, number);
  schedule.blocks_per_task = 1;
  schedule.slots_per_task = 32;
  if (group.kind == KernelGroup::walk) {
    schedule.width = threads_for(lanes, 128);
    schedule.tile = tile_for(fused, number, 8);
    schedule.staged = true;
    schedule.tiles_ahead = 3;
    schedule.steps_per_task = steps_per_task(fused, number, schedule.tile);
    place_states(fused, number, schedule);  // lanes share channels only where a task walks all steps
  } else {
    schedule.width = threads_for(lanes, 256);
    schedule.rows_per_task = 1;
    schedule.rows_together = 1;
    schedule.kept_vectors = 64;
    schedule.inner_unroll = 16;
    map_rows(fused, number, schedule);
    schedule.summing_tasks = (is_one_row(group) ? kFewRegisters : 1) * kThreads / schedule.width;  // all run at once
    schedule.blocks_per_sm = schedule.teams > 1 ? 1 : kThreadsOfSm / schedule.width;
  }
  return schedule;
}

}  // namespace mambac
