// What a walk keeps in arrays and for how long; sums within a tile, and those that outlive the kernel.
#include "codegen/walk_lowering.h"

#include <algorithm>
#include <bit>

namespace mambac {

using loop::Int;
using loop::Value;

int WalkLowering::value_array(NodeId id, const char* what, int64_t per_block) {
  const bool lane = lanes(id);
  return b_->array(plain_name(w_.node(id).name) + "." + what, per_block * (lane ? state_count() : 1), lane,
                   registers() && per_block <= 256 && (lane || !splits()));
}

int WalkLowering::tile_array(NodeId id, int64_t elements) {
  const bool lane = result_has_lane(id);
  const bool small = registers() ? lane || !s_.staged : full_tile() && elements == tile() && tile() <= 8;
  return b_->array(plain_name(w_.node(id).name), elements, lane, small);
}

void WalkLowering::make_arrays() {
  for (NodeId id : invariants_)
    if (!late(id)) invariant_arrays_[id] = value_array(id, "invariant", extent(id));
  for (NodeId id : hoisted_loads()) invariant_arrays_[id] = value_array(id, "invariant", extent(id));
  for (const auto* plan : {&full_.uniform, &full_.lane})
    for (const auto& [id, slot] : plan->slots) make_lasting_arrays(id);
}

void WalkLowering::make_tile_arrays() {
  tile_arrays_.clear();
  sweep_arrays_.clear();
  fold_products_.clear();
  made_again_.clear();
  taps_.clear();
  piece_sums_.clear();
  for (NodeId o : plan_->staged) tile_arrays_[o] = tile_array(o, extent(o) * steps(o));
  for (const auto* plan : {&plan_->uniform, &plan_->lane})
    for (const auto& [id, slot] : plan->slots) make_node_arrays(*plan, id, slot);
}

std::vector<NodeId> WalkLowering::hoisted_loads() const {
  std::set<NodeId> found;
  if (stage_ == WalkStage::join) return {};
  for (const auto& [id, slot] : full_.lane.slots)
    for (NodeId o : w_.node(id).operands) {
      if (!o.present() || w_.inside(o) || w_.is_immediate(o) || w_.has(o, group_.along)) continue;
      const int start = operand_index(w_.node(id).op, "start"), resume = operand_index(w_.node(id).op, "resume");
      const bool is_state = (start >= 0 && w_.node(id).operands[static_cast<size_t>(start)] == o) ||
                            (resume >= 0 && w_.node(id).operands[static_cast<size_t>(resume)] == o);
      if (result_has_lane(o) && !is_state) found.insert(o);
    }
  return {found.begin(), found.end()};
}

void WalkLowering::make_lasting_arrays(NodeId id) {
  const Node& n = w_.node(id);
  const int64_t inner = extent(id);
  if (late(id)) {
    make_late(id);
  } else if (directional(id) && enters_tiles(id)) {
    return;
  } else if (n.op == Op::Scan || n.op == Op::Delay || n.op == Op::Overlap) {
    states_[id] = value_array(id, "state", inner);
    if (stage_ == WalkStage::summaries) make_chunk_arrays(id);
  } else if (n.op == Op::Window) {
    const int64_t taps = w_.graph().dim(n.attrs.dims[1]).size;
    states_[id] = value_array(id, "history", std::max<int64_t>(1, taps - 1) * (inner / taps));  // one remembers nothing
  }
}

void WalkLowering::make_node_arrays(const PhasePlan& plan, NodeId id, PhaseSlot slot) {
  const Node& n = w_.node(id);
  const int64_t inner = count(inner_of_type(id));
  if (late(id) && !sums_in_tile(id)) return;
  if (n.op == Op::Window || n.op == Op::Overlap) {
    const int64_t taps = w_.graph().dim(n.attrs.dims[1]).size;
    const int64_t row = n.op == Op::Window ? tile() + taps - 1 : (taps + 1) * (tile() + 1);
    const bool small = full_tile() && (registers() || tile() <= 8);
    taps_[id] = b_->array(plain_name(n.name) + ".taps", row * (inner / taps), lanes(id), small);
  }
  if (sums_in_tile(id)) {
    tile_arrays_[id] = tile_array(id, extent(id) * steps(id));
    if (sums_pieces(id)) piece_sums_[id] = tile_array(id, extent(id) * tile());
    return;
  }
  if (taps_.count(id)) return;  // read from its taps
  bool crosses_phase = false, crosses_sweep = false;
  for (NodeId r : w_.readers(id)) {
    if (!plan_->nodes.count(r)) continue;
    auto other = plan.slots.find(r);
    if (other == plan.slots.end() || other->second.phase != slot.phase)
      crosses_phase = true;  // also: a uniform value read by lanes
    else if (other->second.sweep != slot.sweep)
      crosses_sweep = true;
  }
  if (folds(id)) return make_fold_arrays(id, crosses_phase);
  if (crosses_phase)
    tile_arrays_[id] = tile_array(id, extent(id) * steps(id));
  else if (crosses_sweep && !is_made_again(plan, id, slot))
    sweep_arrays_[id] = tile_array(id, steps(id));
}

bool WalkLowering::is_made_again(const PhasePlan& plan, NodeId id, PhaseSlot slot) {
  if (!is_simple(w_.node(id).op)) return false;
  const auto& operands = w_.node(id).operands;
  const bool at_hand = std::all_of(operands.begin(), operands.end(), [&](NodeId o) {
    auto placed = plan.slots.find(o);
    return placed == plan.slots.end() || placed->second.phase != slot.phase;
  });
  if (at_hand) made_again_.insert(id);
  return at_hand;
}

void WalkLowering::compute_invariant(NodeId id) {
  const loop::OriginScope origin = w_.from(*b_, id);
  const std::vector<DimId> dims = inner_of_type(id), all = inner_of(id);
  const int array = invariant_arrays_.at(id);
  const Int base = block_offset(id, extent(id));
  if (all == dims) {
    each_inner(dims, [&] { b_->store_array(array, base + place(id), evaluate(id)); });
    return;
  }
  zero_reduction(id, array, base, extent(id));
  each_inner(all, [&] { accumulate(array, base + place(id), combine(id), evaluate(id)); });
}

Value WalkLowering::read_invariant(NodeId o) {
  return b_->load_array(invariant_arrays_.at(o), block_offset(o, extent(o)) + place(o));
}

void WalkLowering::store_invariant(NodeId id) {
  const loop::OriginScope origin = w_.from(*b_, id);
  each_inner(inner_of_type(id), [&] { store_value(id, read_invariant(id)); });
}

void WalkLowering::make_late(NodeId id) {
  if (w_.node(id).op == Op::At) return;
  const int64_t inner = sums_time(id) ? extent(id) : count(inner_of_type(id));
  if (sums_time(id)) {
    const bool per_block = lanes(id) && !sums_lanes(id);
    sums_[id] = b_->array(plain_name(w_.node(id).name) + ".sum", inner * (per_block ? state_count() : 1), lanes(id),
                          registers() && per_block);
  } else if (sums_at_once(id)) {
    sums_[id] = b_->array(plain_name(w_.node(id).name) + ".sum", lane_groups() * inner * tile(), false, false);
    step_sums_[id] = b_->array(plain_name(w_.node(id).name) + ".steps", steps(id), true, true);
  } else if (sums_lanes(id)) {
    sums_[id] = b_->array(plain_name(w_.node(id).name) + ".sum", inner * tile(), true, false);
  }
  std::vector<DimId> slot_dims;
  for (DimId d : group_.outer)
    if (w_.reduces(id, d)) slot_dims.push_back(d);
  const bool parts = sums_lanes(id) && several_parts(), spans = sums_time(id) && in_spans();
  if (slot_dims.empty() && !parts && !spans) return;
  Int slots = w_.size(slot_dims);
  if (parts) slots = slots * parts_;
  if (spans) slots = slots * chunk_count_;
  partials_[id] = {w_.temporary(w_.node(id).name + ".parts", slots * w_.size(w_.node(id).type.dims)), slots};
}

void WalkLowering::store_late(NodeId id, const Env& env, Value value) {
  auto partial = partials_.find(id);
  if (partial == partials_.end()) {
    w_.store(*b_, id, env, value);
    return;
  }
  Int slot = constant(0);
  for (DimId d : group_.outer)
    if (w_.reduces(id, d)) slot = slot * w_.size(d) + env.at.at(d);
  if (sums_lanes(id) && several_parts()) slot = slot * parts_ + part_;
  if (sums_time(id) && in_spans()) slot = slot * chunk_count_ + chunk_;
  w_.once(*b_, id, env, [&] {
    w_.store_slot(*b_, partial->second.first, slot, w_.node(id).type.dims, env, value);
  });
}

Int WalkLowering::block_late(NodeId id) const {
  return lanes(id) && !sums_lanes(id) ? block_ * extent(id) : constant(0);
}

void WalkLowering::zero_reduction(NodeId id, int array, const Int& first, int64_t n) {
  const loop::OriginScope origin = w_.from(*b_, id);
  const Int i = b_->open_for(constant(0), constant(n), 1, is_written_out_array(array));
  b_->store_array(array, first + i, b_->number(neutral_value(w_.node(id))));
  b_->close();
}

void WalkLowering::accumulate(int array, const Int& at, Op op, Value value) {
  b_->store_array(array, at, b_->apply(op, {b_->load_array(array, at), value}));
}

void WalkLowering::zero_phase_sums(const Phase& phase) {
  for (const Sweep& sweep : phase.sweeps)
    for (NodeId id : sweep.nodes)
      if (sums_in_tile(id)) {
        const bool parts = piece_sums_.count(id) > 0;
        zero_reduction(id, parts ? piece_sums_.at(id) : tile_arrays_.at(id), constant(0),
                       extent(id) * (parts ? tile() : steps(id)));
      }
}

void WalkLowering::store_phase_sums(const Phase& phase) {
  for (const Sweep& sweep : phase.sweeps)
    for (NodeId id : sweep.nodes) {
      if (!sums_in_tile(id) || !stored(id)) continue;
      const loop::OriginScope origin = w_.from(*b_, id);
      const std::vector<DimId> dims = inner_of_type(id);
      turns_ = takes_turns(id);
      open_inner(dims);
      open_steps(false, true);
      if (late(id))
        store_late(id, env_, get(id));
      else
        store_value(id, get(id));
      close_steps();
      close_inner(dims);
    }
}

void WalkLowering::flush_tile_sum(NodeId id, int array) {
  const loop::OriginScope origin = w_.from(*b_, id);
  const std::vector<DimId> dims = inner_of_type(id);
  each_inner(dims, [&] {
    const Int at = inner_index(dims) * tile() + open_steps(false, false);
    Value sum = b_->load_array(array, at);
    if (!sums_at_once(id)) sum = b_->reduce(lane_reduction(w_.node(id)), sum);
    for (int64_t g = 1; sums_at_once(id) && g < lane_groups(); ++g)
      sum = b_->apply(Op::Add, {sum, b_->load_array(array, at + g * count(dims) * tile())});
    store_late(id, env_, sum);
    close_steps();
  });
}

bool WalkLowering::sums_at_once(NodeId id) const {
  const bool fits = std::has_single_bit(static_cast<uint64_t>(tile())) && tile() > 1 &&
                    tile() <= std::min<int64_t>(s_.width, loop::kReduceGroup) / s_.pieces;
  return registers() && blocks_per_task_ == 1 && fits && combine(id) == Op::Add && sums_lanes(id) && !sums_time(id) &&
         !sums_inner(id);
}

void WalkLowering::open_step_sum(NodeId id) {
  if (!step_sums_.count(id) || full_tile() || turns_) return;  // steps that a short tile lacks count 0
  const loop::OriginScope origin = w_.from(*b_, id);
  const Int i = b_->open_for(constant(0), constant(tile()), 1, true);
  b_->store_array(step_sums_.at(id), i, b_->number(0));
  b_->close();
}

void WalkLowering::close_step_sum(NodeId id) {
  if (!step_sums_.count(id)) return;
  const loop::OriginScope origin = w_.from(*b_, id);
  std::vector<Value> values;
  for (int64_t j = 0; j < steps(id); ++j) values.push_back(b_->load_array(step_sums_.at(id), constant(j)));
  const int64_t per_group = count(inner_of_type(id)) * tile();
  Int at = inner_index(inner_of_type(id)) * tile();
  if (turns_) at = at + piece();
  b_->reduce_into(sums_.at(id), at, per_group, turns_ ? s_.pieces : 1, std::move(values));
}

void WalkLowering::add_late(NodeId id, Value value) {
  if (sums_lanes(id) && has_tail_) value = mask(value, neutral_value(w_.node(id)));
  if (turns_ && !full_tile() && (sums_time(id) || sums_lanes(id)))
    value = b_->apply(Op::Select, {is_before(*b_, step_, length_), value, b_->number(neutral_value(w_.node(id)))});
  if (sums_time(id)) {
    accumulate(carry_of(id), constant(0), combine(id), value);
  } else if (sums_at_once(id)) {
    b_->store_array(step_sums_.at(id), turns_ ? turn_ : step_, value);
  } else if (sums_lanes(id)) {
    accumulate(sums_.at(id), inner_index(inner_of_type(id)) * tile() + step_, combine(id), value);
  } else {
    store_late(id, env_, value);
  }
}

Value WalkLowering::mask(Value value, double neutral) {
  return b_->apply(Op::Select, {lanes_before(*b_, env_.lane_base, w_.size(group_.lane)), value, b_->number(neutral)});
}

void WalkLowering::store_sum(NodeId id, int array) {
  const loop::OriginScope origin = w_.from(*b_, id);
  const std::vector<DimId> dims = inner_of_type(id);
  each_inner(dims, [&] {
    Value sum = b_->load_array(array, block_late(id) + place(id));
    if (takes_turns(id)) sum = b_->sum_pieces({sum});
    if (sums_lanes(id)) sum = b_->reduce(lane_reduction(w_.node(id)), sum);
    once(lanes(id), [&] { store_late(id, env_to_store(id), sum); });
  });
}

}  // namespace mambac
