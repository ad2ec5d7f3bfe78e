// The states of a walk: where they begin, what carries them from step to step, where they are stored.
#include "codegen/walk_lowering.h"

#include <algorithm>

namespace mambac {

using loop::Int;
using loop::Value;

void WalkLowering::init_state(NodeId id, int array) {
  if (enters_tiles(id)) return;
  const loop::OriginScope origin = w_.from(*b_, id);
  each_state(id, [&](const Int& at) {
    b_->store_array(array, at, in_spans() ? entering_state(id) : first_state(id));
    if (products_.count(id)) b_->store_array(products_.at(id), at, b_->number(1));
  });
}

Value WalkLowering::first_state(NodeId id) {
  if (stage_ == WalkStage::chunks) return load_chunk(chunk_states_.states, id, chunk_);
  const NodeId start = w_.node(id).op == Op::Overlap ? NodeId{} : operand_of(id, "start");
  if (!start.present() || stage_ == WalkStage::summaries) return b_->number(0);
  if (w_.inside(start)) return get(start);
  return w_.is_immediate(start) ? w_.immediate(*b_, start, env_) : w_.load(*b_, start, env_);
}

void WalkLowering::each_state(NodeId id, const std::function<void(const Int&)>& body) {
  const Node& n = w_.node(id);
  std::vector<DimId> dims = inner_of_type(id);
  if (n.op != Op::Window) {
    each_inner(dims, [&] { body(block_offset(id, extent(id)) + place(id)); });
    return;
  }
  const int64_t per_block = count(dims);
  const DimId taps = n.attrs.dims[1];
  const int64_t k = w_.graph().dim(taps).size;
  dims.erase(std::find(dims.begin(), dims.end(), taps));
  open_inner(dims);
  const Int tap = b_->open_for(constant(1), constant(k), 1, registers());
  env_.at[taps] = tap;
  cache_.clear();
  body(block_offset(id, per_block / k * (k - 1)) + (inner_index(dims) * (k - 1) + (tap - 1)));
  b_->close();
  env_.at.erase(taps);
  close_inner(dims);
  cache_.clear();
}

int WalkLowering::carry_of(NodeId id) {
  auto found = carries_.find(id);
  if (found != carries_.end()) return found->second;
  return carries_[id] = b_->array(plain_name(w_.node(id).name) + ".carry", 1, lanes(id), true);
}

int WalkLowering::product_of(NodeId id) {
  auto found = product_carries_.find(id);
  if (found != product_carries_.end()) return found->second;
  return product_carries_[id] = b_->array(plain_name(w_.node(id).name) + ".product.carry", 1, lanes(id), true);
}

Int WalkLowering::carry_home(NodeId id) const {
  return (carries_sum(id) ? block_late(id) : block_offset(id, extent(id))) + place(id);
}

void WalkLowering::open_carry(NodeId id) {
  const loop::OriginScope origin = w_.from(*b_, id);
  if (carries_sum(id)) {
    b_->store_array(carry_of(id), constant(0), b_->load_array(sums_.at(id), carry_home(id)));
  } else if (carries_state(id)) {
    const NodeId resume = operand_of(id, "resume");
    Value state = resume.present() ? load_resumed(resume) : b_->load_array(states_.at(id), carry_home(id));
    b_->store_array(carry_of(id), constant(0), state);
    if (products_.count(id))
      b_->store_array(product_of(id), constant(0), b_->load_array(products_.at(id), carry_home(id)));
    store_chunk(id, [&] { return b_->load_array(carry_of(id), constant(0)); });
    if (folds(id)) open_fold(id);
  } else if (w_.node(id).op == Op::Overlap) {
    // Row k + 1 of the sums array is c[., k]; row 0 stays 0; column 0 holds the tile before.
    const Int k = env_.at.at(w_.node(id).attrs.dims[1]);
    const NodeId resume = operand_of(id, "resume");
    Value state = resume.present() ? load_resumed(resume) : b_->load_array(states_.at(id), carry_home(id));
    b_->store_array(taps_.at(id), overlap_row(id, k + 1), state);
    store_chunk(id, [&] { return b_->load_array(taps_.at(id), overlap_row(id, k + 1)); });
    b_->open_if(k, constant(1));
    const Int j = b_->open_for(constant(0), constant(tile() + 1), 1, is_written_out_array(taps_.at(id)));
    b_->store_array(taps_.at(id), overlap_row(id, constant(0)) + j, b_->number(0));
    b_->close();
    b_->close();
  }
}

void WalkLowering::close_carry(NodeId id) {
  const loop::OriginScope origin = w_.from(*b_, id);
  if (carries_sum(id)) {
    b_->store_array(sums_.at(id), carry_home(id), b_->load_array(carry_of(id), constant(0)));
  } else if (carries_state(id) && !enters_tiles(id)) {
    b_->store_array(states_.at(id), carry_home(id), b_->load_array(carry_of(id), constant(0)));
    if (products_.count(id))
      b_->store_array(products_.at(id), carry_home(id), b_->load_array(product_of(id), constant(0)));
  } else if (w_.node(id).op == Op::Overlap && !enters_tiles(id) && full_tile()) {
    const Int k = env_.at.at(w_.node(id).attrs.dims[1]);
    b_->store_array(states_.at(id), carry_home(id), b_->load_array(taps_.at(id), overlap_row(id, k + 1) + tile()));
  }
}

void WalkLowering::store_chunk(NodeId id, const std::function<Value()>& read) {
  auto chunk = chunks_.find(id);
  if (chunk == chunks_.end() || warms_up()) return;
  const DimId tiles = w_.node(chunk->second).attrs.dims[1];
  const int64_t every = w_.graph().dim(tiles).divisor;
  // Forward: the first tile of a chunk. Reverse: the last tile of a chunk, which may be the end of the walk.
  Int open = t0_ % every;
  if (group_.reverse) {
    const Int end = t0_ + length_;
    open = loop::min(end % every, w_.size(group_.along) - end);
  }
  b_->open_if(open, constant(1));
  env_.at[tiles] = t0_ / every;
  w_.store(*b_, chunk->second, folds(id) ? env_of_first_piece() : env_, read());
  env_.at.erase(tiles);
  b_->close();
}

Value WalkLowering::load_resumed(NodeId resume) {
  const DimId tiles = tiles_of(w_.graph(), w_.graph().node(resume));
  env_.at[tiles] = t0_ / tile();
  const Value state = w_.load(*b_, resume, env_);
  env_.at.erase(tiles);
  return state;
}

void WalkLowering::store_last_state(NodeId id) {
  const loop::OriginScope origin = w_.from(*b_, id);
  const NodeId scan = w_.node(id).operands[0];
  const std::vector<DimId> dims = inner_of_type(scan);
  each_inner(dims, [&] {
    store_value(id, b_->load_array(states_.at(scan), block_offset(scan, extent(scan)) + place(scan)));
  });
}

Value WalkLowering::scan(NodeId id) {
  const Node& n = w_.node(id);
  const Value before = cut(id, b_->load_array(carry_of(id), constant(0)));
  const Value decayed = b_->apply(Op::Mul, {get(n.operands[0]), before});
  const Value state = b_->apply(Op::Add, {decayed, get(n.operands[1])});
  b_->store_array(carry_of(id), constant(0), state);
  if (products_.count(id)) {
    const Value product = cut(id, b_->load_array(product_of(id), constant(0)));
    b_->store_array(product_of(id), constant(0), b_->apply(Op::Mul, {get(n.operands[0]), product}));
  }
  return state;
}

Value WalkLowering::delay(NodeId id) {
  const Value before = cut(id, b_->load_array(carry_of(id), constant(0)));
  b_->store_array(carry_of(id), constant(0), get(w_.node(id).operands[0]));
  return before;
}

Value WalkLowering::cut(NodeId id, Value before) {
  const NodeId starts = operand_of(id, "starts");
  if (!starts.present()) return before;
  return b_->apply(Op::Select, {starts_between(starts, env_.at.at(group_.along), backward(id)), b_->number(0), before});
}

Value WalkLowering::starts_between(NodeId starts, const Int& t, bool reverse) {
  const Int length = w_.size(group_.along);
  const Int at = reverse ? loop::min(t + 1, length - 1) : t;
  const Value flag = load_at(starts, at);
  if (!reverse) return flag;
  return b_->apply(Op::Mul, {flag, is_before(*b_, t + 1, length)});
}

Value WalkLowering::load_at(NodeId starts, const Int& t) {
  const Int now = env_.at.at(group_.along);
  env_.at[group_.along] = t;
  const Value flag = w_.load(*b_, starts, env_);
  env_.at[group_.along] = now;
  return flag;
}

}  // namespace mambac
