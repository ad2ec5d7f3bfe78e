// Which schedules a kernel allows.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <tuple>
#include <vector>

#include "codegen/lower.h"
#include "ir/op.h"
#include "passes/fuse.h"
#include "passes/group.h"

namespace mambac {
namespace {

constexpr int kMostSteps = 1024;  // of a tile
constexpr int kWarp = 32;         // a team of lanes, which sums over them without a barrier
constexpr int kMostLanes = 1024;  // threads of a block
constexpr int kMostThreadsOfSm = 2048;
constexpr int kAny = std::numeric_limits<int>::max();

/// The values that an axis may have, and why not more.
struct Bounds {
  const char* axis;
  int value, least, most;
  const char* why;
};

/// Axes that anything but their default makes illegal on a CPU.
std::string why_illegal_on_cpu(const Schedule& s) {
  constexpr Schedule none;
  for (const auto& [axis, value, default_value] : {std::tuple{"pieces", s.pieces, none.pieces},
                                                   {"time_lanes", s.time_lanes, none.time_lanes},
                                                   {"copies_ahead", s.copies_ahead, none.copies_ahead},
                                                   {"tiles_ahead", s.tiles_ahead, none.tiles_ahead},
                                                   {"blocks_per_sm", s.blocks_per_sm, none.blocks_per_sm},
                                                   {"teams", s.teams, none.teams},
                                                   {"slots_per_task", s.slots_per_task, none.slots_per_task},
                                                   {"begins_early", int{s.begins_early}, int{none.begins_early}},
                                                   {"exp_on_fma", s.exp_on_fma, none.exp_on_fma}})
    if (value != default_value) return fmt::format("{}={}: only kernels for a GPU have this axis", axis, value);
  return "";
}

std::vector<Bounds> bounds_of(const Schedule& s, DeviceKind kind) {
  const char* const written_out = "so many are written out, and compiling would take minutes";
  const char* const parts = "each leaves a part in memory";
  const bool gpu = kind == DeviceKind::gpu;
  return {{"width", s.width, gpu ? kWarp : 1, gpu ? kMostLanes : loop::kReduceGroup,
           gpu ? "a block has no more threads" : "longer vectors are many registers each"},
          {"tile", s.tile, 1, kMostSteps, "what a tile computes is kept in arrays"},
          {"unroll", s.unroll, 1, 64, written_out},
          {"blocks_per_task", s.blocks_per_task, 1, 1024, "the states of all are kept in arrays"},
          {"ahead", s.ahead, 0, 64, "no cache keeps lines until then"},
          {"interleave", s.interleave, 0, gpu ? 0 : 256,
           gpu ? "only kernels for a CPU have this axis" : "no registers are left for so many"},
          {"pieces", s.pieces, 1, kWarp, "the lanes of a channel are in one warp"},
          {"time_lanes", s.time_lanes, 1, kMostLanes, "a block has no more threads"},
          {"copies_ahead", s.copies_ahead, 0, 8, "shared memory has no room for more tiles"},
          {"chunks", s.chunks, 1, 4096, "the states of all are joined one after the other"},
          {"steps_per_task", s.steps_per_task, 0, kAny, ""},
          {"tiles_ahead", s.tiles_ahead, 0, 16, "no cache keeps lines until then"},
          {"blocks_per_sm", s.blocks_per_sm, 1, 32, "a multiprocessor holds no more"},
          {"exp_on_fma", s.exp_on_fma, 0, 64, "no more steps are written out"},
          {"slots_per_task", s.slots_per_task, 0, kAny, ""},
          {"summing_tasks", s.summing_tasks, 1, 1 << 16, parts},
          {"rows_per_task", s.rows_per_task, 1, kAny, ""},
          {"inner_unroll", s.inner_unroll, 1, 256, written_out},
          {"row_unroll", s.row_unroll, 1, 64, written_out},
          {"kept_vectors", s.kept_vectors, 0, 256, written_out},
          {"rows_together", s.rows_together, 1, 16, written_out},
          {"row_blocks", s.row_blocks, 1, kAny, ""},
          {"teams", s.teams, 1, kMostLanes / kWarp, "a block has no more threads"},
          {"columns", s.columns, 1, 16, "no memory access is wider"},
          {"algorithm", s.algorithm, 0, Schedule::kLastAlgorithm, "no library is asked for more"}};
}

std::string why_out_of_bounds(const Schedule& schedule, DeviceKind kind) {
  for (const Bounds& bounds : bounds_of(schedule, kind)) {
    if (bounds.value < bounds.least)
      return fmt::format("{}={}: must be {} or more", bounds.axis, bounds.value, bounds.least);
    if (bounds.value > bounds.most)
      return fmt::format("{}={}: must be at most {}: {}", bounds.axis, bounds.value, bounds.most, bounds.why);
  }
  if (!std::has_single_bit(static_cast<unsigned>(schedule.width)))
    return fmt::format("width={}: must be a power of two", schedule.width);
  if (!std::has_single_bit(static_cast<unsigned>(schedule.columns)) || schedule.columns > schedule.width)
    return fmt::format("columns={}: must be a power of two, and at most the width", schedule.columns);
  if (schedule.teams > 1 && schedule.width != kWarp)
    return fmt::format("teams={}: must be whole warps (width={})", schedule.teams, kWarp);
  const int threads = schedule.width * schedule.teams;
  if (schedule.blocks_per_sm > 1 && threads * schedule.blocks_per_sm > kMostThreadsOfSm)
    return fmt::format("blocks_per_sm={}: a multiprocessor has at most {} threads, and a block {} of them",
                       schedule.blocks_per_sm, kMostThreadsOfSm, threads);
  return "";
}

/// With states in registers all steps of a tile, or of a lane's share of it, are written out, for all inner loops. Few
/// always may be, and as many as a resumed recurrence asks for.
std::string why_too_long(const Graph& fused, int number, const Schedule& schedule) {
  constexpr int64_t kFewSteps = 8, kMostBodies = 1024;
  if (!schedule.states_in_registers || schedule.tile / schedule.time_lanes <= kFewSteps) return "";
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  int64_t bodies = 1;
  for (const Node& node : fused.nodes()) {
    if (node.kernel != number) continue;
    if (operand_index(node.op, "resume") >= 0 && operand(node, "resume").present()) return "";
    int64_t own = 1;
    for (DimId d : group.inner)
      if (touches(fused, node, d)) own *= fused.dim(d).size;
    bodies = std::max(bodies, own);
  }
  const int64_t most = std::max(kFewSteps, std::min<int64_t>(64, kMostBodies / bodies)) * schedule.time_lanes;
  if (schedule.tile <= most) return "";
  return fmt::format("tile={}: must be at most {} with states_in_registers=1, which writes all steps out{}",
                     schedule.tile, most, bodies > 1 ? fmt::format(", each {} times", bodies) : "");
}

/// States that are stored lie where tiles begin, and a recurrence that resumes from such restarts at every tile.
std::string why_illegal_tile(const Graph& fused, int number, int tile) {
  for (const Node& node : fused.nodes()) {
    if (node.kernel != number || !is_directional(node.op)) continue;
    if (node.op == Op::ChunkStarts && stored_interval(fused, node) % tile != 0)
      return fmt::format("tile={}: states are stored every {} steps, where a tile must begin", tile,
                         stored_interval(fused, node));
    const NodeId resume = node.op == Op::ChunkStarts ? NodeId{} : operand(node, "resume");
    if (resume.present() && stored_interval(fused, fused.node(resume)) != tile)
      return fmt::format("tile={}: a recurrence resumes every {} steps, once a tile", tile,
                         stored_interval(fused, fused.node(resume)));
  }
  return "";
}

std::string why_illegal_spans(const Graph& fused, int number, const Schedule& schedule) {
  const int steps = schedule.steps_per_task;
  if (steps == 0) return "";
  if (steps % schedule.tile != 0)
    return fmt::format("steps_per_task={}: must be 0 or whole tiles of {} steps", steps, schedule.tile);
  if (schedule.pieces > 1 || schedule.chunks > 1)
    return fmt::format("steps_per_task={}: goes with neither pieces nor chunks", steps);
  if (!steps_remembered(fused, number))
    return fmt::format("steps_per_task={}: a state of this kernel depends on all steps before it", steps);
  return "";
}

std::string why_illegal_walk(const Graph& fused, int number, const Schedule& schedule) {
  if (schedule.pieces > 1 && !can_split(fused, number, schedule))
    return fmt::format("pieces={}: lanes cannot share the states of this kernel", schedule.pieces);
  if (schedule.states_in_registers && schedule.blocks_per_task > 1 && !can_keep_states_in_registers(fused, number))
    return fmt::format("blocks_per_task={}: with states_in_registers, the lane blocks of a kernel that sums over lanes "
                       "walk together",
                       schedule.blocks_per_task);
  if (schedule.chunks > 1 && (schedule.pieces > 1 || !can_chunk(fused, number)))
    return fmt::format("chunks={}: this kernel cannot walk in chunks", schedule.chunks);
  if (schedule.copies_ahead < 0 || (schedule.copies_ahead > 0 && !schedule.staged))
    return fmt::format("copies_ahead={}: must be 0 or more, and 0 where nothing is staged (staged=1)",
                       schedule.copies_ahead);
  if (std::string reason = why_illegal_time(fused, number, schedule); !reason.empty()) return reason;
  if (std::string reason = why_illegal_spans(fused, number, schedule); !reason.empty()) return reason;
  if (std::string reason = why_too_long(fused, number, schedule); !reason.empty()) return reason;
  return why_illegal_tile(fused, number, schedule.tile);
}

}  // namespace

DimId tiles_of(const Graph& fused, const Node& states) {
  for (DimId d : states.type.dims)
    if (fused.dim(d).is_tiles()) return d;
  throw InternalError("tiles_of: a value without a dimension of tiles");
}

int stored_interval(const Graph& fused, const Node& states) {
  return static_cast<int>(fused.dim(tiles_of(fused, states)).divisor);
}

std::string why_illegal(const Schedule& schedule, DeviceKind kind) {
  if (kind == DeviceKind::cpu)
    if (std::string reason = why_illegal_on_cpu(schedule); !reason.empty()) return reason;
  return why_out_of_bounds(schedule, kind);
}

std::string why_illegal(const Graph& fused, int number, const Schedule& schedule, DeviceKind kind) {
  if (std::string reason = why_illegal(schedule, kind); !reason.empty()) return reason;
  if (schedule.algorithm > 0 && !is_library_product(fused, number))
    return fmt::format("algorithm={}: only matrix products by a library have this axis", schedule.algorithm);
  if (fused.kernels[static_cast<size_t>(number)].kind != KernelGroup::walk) return "";
  return why_illegal_walk(fused, number, schedule);
}

}  // namespace mambac
