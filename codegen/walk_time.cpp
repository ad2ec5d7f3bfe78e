// Lanes that share the time of a channel: each has some steps of a tile that follow each other.
//
// h[t] = a[t] h[t-1] + x[t]. The steps up to and including t, of a lane, do to the state h before the lane's first one
//
//   h -> P[t] h + S[t],   P[t] = a[t] P[t-1],  S[t] = a[t] S[t-1] + x[t],   P = 1, S = 0 before the first
//
// and such maps are composed in any grouping: (a2, b2) o (a1, b1) = (a2 a1, a2 b1 + b2). Blelloch, "Prefix sums and
// their applications" (1990); Martin and Cundy, arXiv:1709.04057; Gu and Dao, arXiv:2312.00752, section 3.3.
//
//   fold     a sweep over the lane's steps: P[t] and S[t]. The first lane begins from the state before the tile, so its
//            S are states already
//   join     the lanes' last P and S are composed, lane after lane: each gets the state before its steps, and all the
//            one behind the tile
//   correct  h[t] = S[t] + P[t] * the state before. Nothing here waits for the step before
//
// What reads states comes in a later sweep. Steps that a short tile lacks count as h -> h.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "codegen/lower.h"
#include "codegen/walk_lowering.h"

namespace mambac {

using loop::Int;
using loop::Value;

/// Where nobody reads states, as where only the one behind the last tile is wanted, they are not corrected.
void WalkLowering::make_fold_arrays(NodeId id, bool crosses_phase) {
  const auto& readers = w_.readers(id);
  const bool read = stored(id) || std::ranges::any_of(readers, [&](NodeId r) { return plan_->nodes.count(r) > 0; });
  if (!read) return;
  fold_products_[id] = b_->array(plain_name(w_.node(id).name) + ".products", steps(id), true, true);
  if (crosses_phase)
    tile_arrays_[id] = tile_array(id, extent(id) * steps(id));
  else
    sweep_arrays_[id] = tile_array(id, steps(id));
}

void WalkLowering::open_fold(NodeId id) {
  const Value before = b_->load_array(carry_of(id), constant(0)), first = is_before(*b_, piece(), constant(1));
  b_->store_array(carry_of(id), constant(0), b_->apply(Op::Select, {first, before, b_->number(0)}));
  b_->store_array(product_of(id), constant(0), b_->number(1));
}

void WalkLowering::fold(NodeId id) {
  const Node& n = w_.node(id);
  Value decay = cut(id, get(n.operands[0])), input = get(n.operands[1]);
  if (!full_tile()) {
    const Value exists = is_before(*b_, step_, length_);
    decay = b_->apply(Op::Select, {exists, decay, b_->number(1)});
    input = b_->apply(Op::Select, {exists, input, b_->number(0)});
  }
  const Value decayed = b_->apply(Op::Mul, {decay, b_->load_array(carry_of(id), constant(0))});
  const Value state = b_->apply(Op::Add, {decayed, input});
  const Value product = b_->apply(Op::Mul, {decay, b_->load_array(product_of(id), constant(0))});
  b_->store_array(carry_of(id), constant(0), state);
  b_->store_array(product_of(id), constant(0), product);
  if (!fold_products_.count(id)) return;
  b_->store_array(fold_products_.at(id), turn_, product);
  const auto [states, at] = states_of_steps(id);
  b_->store_array(states, at, state);
}

std::pair<int, Int> WalkLowering::states_of_steps(NodeId id) const {
  const auto in_tile = tile_arrays_.find(id);
  if (in_tile != tile_arrays_.end()) return {in_tile->second, step_place(id)};
  return {sweep_arrays_.at(id), sweep_place(id)};
}

void WalkLowering::join_lanes(NodeId id) {
  const loop::OriginScope origin = w_.from(*b_, id);
  const loop::StageBuilder::Scanned maps =
      b_->scan_pieces(b_->load_array(product_of(id), constant(0)), b_->load_array(carry_of(id), constant(0)));
  b_->store_array(carry_of(id), constant(0), maps.b_all);
  if (products_.count(id)) {
    const Value before = b_->load_array(products_.at(id), carry_home(id));
    b_->store_array(product_of(id), constant(0), b_->apply(Op::Mul, {maps.a_all, before}));
  }
  if (fold_products_.count(id)) correct_states(id, maps.b_before);
}

void WalkLowering::correct_states(NodeId id, Value entering) {
  open_steps(false, true);
  const auto [states, at] = states_of_steps(id);
  // Of a state of 0 nothing is left, also where the product of decays is beyond f32.
  const Value product = b_->load_array(fold_products_.at(id), turn_);
  const Value left = b_->apply(Op::Mul, {b_->apply(Op::Select, {entering, product, b_->number(0)}), entering});
  const Value state = b_->apply(Op::Add, {left, b_->load_array(states, at)});
  b_->store_array(states, at, state);
  if (stored(id)) store_value(id, state);
  close_steps();
}

/// Where the value at one step is stored: in the lane that has this step.
Env WalkLowering::env_at_end(const Int& wanted) const {
  const Int t = group_.reverse ? t0_ + (length_ - 1 - step_) : t0_ + step_;
  Env env = env_;
  env.below = loop::max(t - wanted, wanted - t);
  env.limit = constant(1);
  return env;
}

std::string why_illegal_time(const Graph& fused, int number, const Schedule& schedule) {
  constexpr int kWarp = 32;
  const int lanes = schedule.time_lanes;
  const auto refuse = [&](const char* why) { return fmt::format("time_lanes={}: {}", lanes, why); };
  if (lanes == 1) return "";
  if (!std::has_single_bit(static_cast<unsigned>(lanes)) || lanes > schedule.width)
    return refuse("must be a power of two, at most the width");
  if (lanes > kWarp && lanes != schedule.width) return refuse("more than 32 must be all lanes of a block, the width");
  if (schedule.tile % lanes != 0) return refuse("must divide the tile, of which each lane takes as many steps");
  if (schedule.pieces > 1) return refuse("lanes share either time or, with pieces, states");
  if (!schedule.states_in_registers || !schedule.staged || schedule.blocks_per_task != 1)
    return refuse("needs states_in_registers=1, staged=1 and blocks_per_task=1");
  if (!can_chunk(fused, number))
    return refuse("not for recurrences other than scans from a start, scans of scans, and sums over time or lanes");
  if (fused.kernels[static_cast<size_t>(number)].lane == DimId{} && lanes != schedule.width)
    return refuse("in a walk without channels all lanes share time: must be the width");
  return "";
}

}  // namespace mambac
