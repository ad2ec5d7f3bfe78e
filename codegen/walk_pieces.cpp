// Channels of several lanes: how they share a channel's states, and the steps of what has no states.
#include <algorithm>

#include "codegen/lower.h"
#include "codegen/walk_lowering.h"

namespace mambac {

using loop::Int;
using loop::Value;

Int WalkLowering::place(NodeId id) const {
  Int index = constant(0);
  for (DimId d : inner_of_type(id)) {
    const int64_t n = w_.graph().dim(d).size;
    const bool shared = is_split(id) && d == split_;
    index = index * (shared ? n / s_.pieces : n) + (shared ? local_ : env_.at.at(d));
  }
  return index;
}

/// Before the loops over states, which would hand them out again for each.
void WalkLowering::hand_out(const Phase& phase) {
  handed_out_.clear();
  if (!splits() || turns_ || !with_lanes_) return;
  for (const Sweep& sweep : phase.sweeps)
    for (NodeId id : sweep.nodes) {
      const loop::OriginScope origin = w_.from(*b_, id);
      for (NodeId o : w_.node(id).operands) {
        const auto array = o.present() ? tile_arrays_.find(o) : tile_arrays_.end();
        if (array == tile_arrays_.end() || !takes_turns(o) || !inner_of_type(o).empty() || handed_out_.count(o))
          continue;
        const int all = handed_out_[o] = b_->array(plain_name(w_.node(o).name) + ".all", tile(), true, true);
        for (int64_t step = 0; step < tile(); ++step)
          b_->store_array(all, constant(step),
                          b_->load_piece(array->second, constant(step / s_.pieces), constant(step % s_.pieces)));
      }
    }
}

/// Outside of turns, a value of one lane is handed to all of its channel.
Value WalkLowering::load_step(NodeId id, int array) {
  if (!takes_turns(id) || turns_) return b_->load_array(array, step_place(id));
  if (const auto all = handed_out_.find(id); all != handed_out_.end()) return b_->load_array(all->second, step_);
  return b_->load_piece(array, place(id) * steps(id) + step_ / s_.pieces, step_ % s_.pieces);
}

/// Steps that a short tile lacks are computed as its last one, and neither stored nor summed.
void WalkLowering::open_turns() {
  const int64_t turns = tile() / lanes_of_channel();
  turn_ = b_->open_for(constant(0), constant(turns), 1, true);
  step_loops_ = 1;
  step_ = shares_time() ? piece() * turns + turn_ : turn_ * s_.pieces + piece();
  own_step_ = step_;
  within_ = step_;
  if (!full_tile()) {
    within_ = loop::min(step_, length_ - 1);
    env_.below = step_;
    env_.limit = length_;
  }
  env_.at[group_.along] = group_.reverse ? t0_ + (length_ - 1 - within_) : t0_ + within_;
  cache_.clear();
}

/// After a phase: the lanes' parts of sums are added, each lane gets those of its steps.
void WalkLowering::gather_pieces(const Phase& phase) {
  for (const Sweep& sweep : phase.sweeps)
    for (NodeId id : sweep.nodes) {
      const auto parts = piece_sums_.find(id);
      if (parts == piece_sums_.end()) continue;
      const loop::OriginScope origin = w_.from(*b_, id);
      each_inner(inner_of_type(id), [&] {
        for (int64_t turn = 0; turn < steps(id); ++turn) {
          std::vector<Value> values;
          for (int64_t i = 0; i < s_.pieces; ++i)
            values.push_back(b_->load_array(parts->second, place(id) * tile() + (turn * s_.pieces + i)));
          b_->store_array(tile_arrays_.at(id), place(id) * steps(id) + turn, b_->sum_pieces(std::move(values)));
        }
      });
    }
}

/// Outside of turns all lanes of a channel have a value that is not split; the first one stores it.
Env WalkLowering::env_to_store(NodeId id) const { return takes_turns(id) && !turns_ ? env_of_first_piece() : env_; }

Env WalkLowering::env_of_first_piece() const {
  Env env = env_;
  env.below = piece();
  env.limit = constant(1);
  return env;
}

DimId shared_dim(const Graph& fused, int number) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  DimId best{};
  for (DimId d : group.inner) {
    bool everywhere = false;
    for (const Node& node : fused.nodes()) {
      if (node.kernel != number || !is_directional(node.op) || node.op == Op::ChunkStarts) continue;
      everywhere = node.type.has(d);
      if (!everywhere) break;
    }
    if (everywhere && (best == DimId{} || fused.dim(d).size > fused.dim(best).size)) best = d;
  }
  return best;
}

bool can_split(const Graph& fused, int number, const Schedule& schedule) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  if (group.kind != KernelGroup::walk || group.lane == DimId{}) return false;
  const DimId shared = shared_dim(fused, number);
  if (shared == DimId{} || fused.dim(shared).size % schedule.pieces != 0) return false;
  if (!schedule.states_in_registers || schedule.blocks_per_task != 1 || schedule.chunks > 1 || !schedule.staged ||
      schedule.steps_per_task > 0)
    return false;
  if (schedule.tile % schedule.pieces != 0 || schedule.width % schedule.pieces != 0) return false;
  return std::all_of(fused.nodes().begin(), fused.nodes().end(), [&](const Node& node) {
    if (node.kernel != number || node.op == Op::ChunkStarts) return true;
    const std::vector<DimId> reduced = reduced_dims(node);
    const auto reduces = [&](DimId d) { return std::find(reduced.begin(), reduced.end(), d) != reduced.end(); };
    const bool has_lane = touches(fused, node, group.lane), has_time = touches(fused, node, group.along);
    const bool moves = node.op == Op::At || node.op == Op::Slice || node.op == Op::Shift || node.op == Op::Put;
    if (node.op == Op::Window || node.op == Op::Overlap) return false;
    if (is_directional(node.op) && !has_lane) return true;  // every lane walks what is uniform
    if (moves && (node.attrs.dims[0] == shared || (node.op == Op::Slice && node.attrs.dims[1] == shared))) return false;
    if (node.op == Op::At && node.attrs.dims[0] == group.along)
      return fused.node(node.operands[0]).op == Op::Scan && node.attrs.integer == (group.reverse ? 0 : -1) &&
             node.type.has(shared);
    if (node.op == Op::Put && node.attrs.dims[0] == group.along) return false;
    if (has_lane && reduces(shared) && (node.op == Op::Amax || !has_time)) return false;
    if (!reduces(group.lane)) return true;
    // Sums over lanes are done at once, for the steps of a tile.
    const int64_t group_lanes = std::min<int64_t>(schedule.width, loop::kReduceGroup);
    const bool inner = std::any_of(group.inner.begin(), group.inner.end(), reduces);
    return node.op != Op::Amax && !reduces(group.along) && has_time && !inner && schedule.tile > 1 &&
           (schedule.tile & (schedule.tile - 1)) == 0 && schedule.tile * schedule.pieces <= group_lanes;
  });
}

}  // namespace mambac
