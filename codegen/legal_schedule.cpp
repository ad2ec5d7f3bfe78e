// Which schedules a kernel allows.
#include <fmt/format.h>

#include <bit>

#include "codegen/lower.h"
#include "ir/op.h"

namespace mambac {
namespace {

constexpr int kMostLanes = 1024;  // threads of a block

/// States that are stored lie where tiles begin, and a recurrence that resumes from such restarts at every tile.
std::string why_illegal_tile(const Graph& fused, int number, int tile) {
  for (const Node& node : fused.nodes()) {
    if (node.kernel != number || !is_directional(node.op)) continue;
    const auto interval = [&](const Node& chunk_starts) { return fused.dim(chunk_starts.attrs.dims[1]).divisor; };
    if (node.op == Op::ChunkStarts && interval(node) % tile != 0)
      return fmt::format("tile={}: states are stored every {} steps, where a tile must begin", tile, interval(node));
    const NodeId resume = node.op == Op::ChunkStarts ? NodeId{} : operand(node, "resume");
    if (resume.present() && interval(fused.node(resume)) != tile)
      return fmt::format("tile={}: a recurrence resumes every {} steps, once a tile", tile,
                         interval(fused.node(resume)));
  }
  return "";
}

std::string why_illegal_spans(const Graph& fused, int number, const Schedule& schedule) {
  const int steps = schedule.steps_per_task;
  if (steps == 0) return "";
  if (steps < 0 || steps % schedule.tile != 0)
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
  return why_illegal_tile(fused, number, schedule.tile);
}

}  // namespace

std::string why_illegal_on_cpu(const Schedule& schedule) {
  for (const auto& [axis, value] : {std::pair{"pieces", schedule.pieces}, {"time_lanes", schedule.time_lanes}})
    if (value > 1) return fmt::format("{}={}: lanes share a channel on a GPU only", axis, value);
  return "";
}

std::string why_illegal(const Graph& fused, int number, const Schedule& schedule) {
  for (const auto& [axis, value] : {std::pair{"width", schedule.width},
                                    {"tile", schedule.tile},
                                    {"unroll", schedule.unroll},
                                    {"blocks_per_task", schedule.blocks_per_task},
                                    {"blocks_per_sm", schedule.blocks_per_sm},
                                    {"row_unroll", schedule.row_unroll},
                                    {"inner_unroll", schedule.inner_unroll},
                                    {"pieces", schedule.pieces},
                                    {"time_lanes", schedule.time_lanes},
                                    {"chunks", schedule.chunks},
                                    {"summing_tasks", schedule.summing_tasks},
                                    {"rows_per_task", schedule.rows_per_task},
                                    {"rows_together", schedule.rows_together},
                                    {"row_blocks", schedule.row_blocks},
                                    {"columns", schedule.columns}})
    if (value < 1) return fmt::format("{}={}: must be 1 or more", axis, value);
  if (!std::has_single_bit(static_cast<unsigned>(schedule.width)) || schedule.width > kMostLanes)
    return fmt::format("width={}: must be a power of two, at most {}", schedule.width, kMostLanes);
  if (!std::has_single_bit(static_cast<unsigned>(schedule.columns)) || schedule.columns > schedule.width)
    return fmt::format("columns={}: must be a power of two, and at most the width", schedule.columns);
  if (fused.kernels[static_cast<size_t>(number)].kind != KernelGroup::walk) return "";
  return why_illegal_walk(fused, number, schedule);
}

}  // namespace mambac
