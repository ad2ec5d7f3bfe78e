// Windows, which read a tile's values behind the K - 1 before it in place, and their adjoint.
#include "codegen/walk_lowering.h"

#include <algorithm>

namespace mambac {

using loop::Int;
using loop::Value;

Int WalkLowering::taps_row(NodeId id, const std::vector<DimId>& dims) const {
  const int64_t k = w_.graph().dim(w_.node(id).attrs.dims[1]).size;
  return inner_index(dims) * (tile() + k - 1);
}

std::vector<DimId> WalkLowering::dims_without_taps(NodeId id) const {
  std::vector<DimId> dims = inner_of_type(id);
  dims.erase(std::find(dims.begin(), dims.end(), w_.node(id).attrs.dims[1]));
  return dims;
}

void WalkLowering::each_window(const Phase& phase, const std::function<void(NodeId, int64_t)>& body) {
  for (const Sweep& sweep : phase.sweeps)
    for (NodeId id : sweep.nodes) {
      if (w_.node(id).op != Op::Window) continue;
      const loop::OriginScope origin = w_.from(*b_, id);
      body(id, w_.graph().dim(w_.node(id).attrs.dims[1]).size);
    }
}

void WalkLowering::fill_taps(const Phase& phase) {
  each_window(phase, [&](NodeId id, int64_t k) {
    if (taps_in_memory(id)) return load_taps(id, k);
    const std::vector<DimId> dims = dims_without_taps(id);
    const NodeId resume = operand_of(id, "resume");
    const DimId taps = w_.node(id).attrs.dims[1];
    open_inner(dims);
    const Int i = b_->open_for(constant(0), constant(k - 1), 1, true);
    Value past;
    if (resume.present()) {
      env_.at[taps] = i + 1;
      past = load_resumed(resume);
      env_.at.erase(taps);
    } else {
      past = b_->load_array(states_.at(id), history_at(id, dims, k) + i);
    }
    b_->store_array(taps_.at(id), taps_row(id, dims) + i, past);
    store_window_chunk(id, taps, i, past);
    b_->close();
    open_steps(against(id), true);
    b_->store_array(taps_.at(id), taps_row(id, dims) + (own_step_ + (k - 1)), get(w_.node(id).operands[0]));
    close_steps();
    close_inner(dims);
  });
}

void WalkLowering::load_taps(NodeId id, int64_t k) {
  const std::vector<DimId> dims = dims_without_taps(id);
  open_inner(dims);
  open_steps(false, true);
  b_->store_array(taps_.at(id), taps_row(id, dims) + step_, get(operand_of(id, "x")));
  close_steps();
  const bool by_length = full_tile() || !registers();
  const Int j = by_length ? b_->open_for(length_, length_ + (k - 1), 1, full_tile())
                          : b_->open_for(constant(1), constant(tile() + k - 2), 1, true);
  if (!by_length) {  // at constant places, so that the taps stay in registers
    b_->open_if(length_ - 1, j);
    b_->open_if(j, length_ + (k - 1));
  }
  b_->store_array(taps_.at(id), taps_row(id, dims) + j, load_tap(id, t0_ + (length_ - 1) - j));
  for (int open = by_length ? 1 : 3; open > 0; --open) b_->close();
  close_inner(dims);
}

Value WalkLowering::load_tap(NodeId id, const Int& t) {
  const Node& n = w_.node(id);
  const DimId taps = n.attrs.dims[1];
  const int64_t k = w_.graph().dim(taps).size;
  env_.at[group_.along] = loop::max(t, constant(0));
  const NodeId x = n.operands[0];
  const Value value = w_.is_immediate(x) ? w_.immediate(*b_, x, env_) : w_.load(*b_, x, env_);
  env_.at.erase(group_.along);
  env_.at[taps] = loop::min(t + k, constant(k - 1));
  cache_.clear();
  const Value before = first_state(id);
  cache_.clear();
  env_.at.erase(taps);
  return b_->apply(Op::Select, {is_before(*b_, constant(-1), t), value, before});
}

void WalkLowering::store_window_chunk(NodeId id, DimId taps, const Int& i, Value past) {
  if (!chunks_.count(id) || warms_up()) return;
  env_.at[taps] = i + 1;
  store_chunk(id, [&] { return past; });
  b_->open_if(i, constant(1));
  env_.at[taps] = constant(0);
  store_chunk(id, [&] { return lanes(id) ? zero_lanes(past) : b_->number(0); });
  b_->close();
  env_.at.erase(taps);
}

Int WalkLowering::history_at(NodeId id, const std::vector<DimId>& dims, int64_t k) const {
  return block_offset(id, count(dims) * (k - 1)) + inner_index(dims) * (k - 1);
}

void WalkLowering::save_taps(const Phase& phase) {
  each_window(phase, [&](NodeId id, int64_t k) {
    if (enters_tiles(id) || !full_tile()) return;  // windows run from the beginning: a short tile is their last
    const std::vector<DimId> dims = dims_without_taps(id);
    open_inner(dims);
    const Int i = b_->open_for(constant(0), constant(k - 1), 1, true);
    const Value last = b_->load_array(taps_.at(id), taps_row(id, dims) + (length_ + i));
    b_->store_array(states_.at(id), history_at(id, dims, k) + i, last);
    b_->close();
    close_inner(dims);
  });
}

Value WalkLowering::window(NodeId id) {
  const Node& n = w_.node(id);
  const Int k = env_.at.at(n.attrs.dims[1]);
  const int64_t taps = w_.graph().dim(n.attrs.dims[1]).size;
  const Int at = taps_in_memory(id) ? step_ + (taps - 1) - k : own_step(id) + k;
  Value value = b_->load_array(taps_.at(id), taps_row(id, dims_without_taps(id)) + at);
  const NodeId starts = operand_of(id, "starts");
  if (!starts.present()) return value;
  // Tap k lies K-1-k steps back: a start at any of the steps since cuts it off.
  const Int t = env_.at.at(group_.along);
  for (int64_t q = 0; q + 1 < taps; ++q) {
    const Value flag = load_at(starts, loop::max(t - q, constant(0)));
    const Value reaches = b_->apply(Op::Lt, {b_->index(k + q), b_->number(static_cast<double>(taps - 1))});
    const Value real = b_->apply(Op::Le, {b_->number(static_cast<double>(q)), b_->index(t)});
    const Value cuts = b_->apply(Op::Mul, {b_->apply(Op::Mul, {flag, reaches}), real});
    value = b_->apply(Op::Select, {cuts, b_->number(0), value});
  }
  return value;
}

Int WalkLowering::overlap_row(NodeId id, const Int& k) const {
  const DimId taps = w_.node(id).attrs.dims[1];
  Int index = constant(0);
  for (DimId d : inner_of_type(id))
    if (d != taps) index = index * w_.graph().dim(d).size + env_.at.at(d);
  return (index * (w_.graph().dim(taps).size + 1) + k) * (tile() + 1);
}

Value WalkLowering::read_overlap(NodeId id) {
  return b_->load_array(taps_.at(id), overlap_row(id, env_.at.at(w_.node(id).attrs.dims[1]) + 1) + (own_step(id) + 1));
}

Value WalkLowering::overlap(NodeId id) {
  const Node& n = w_.node(id);
  const Int k = env_.at.at(n.attrs.dims[1]);
  Value before = b_->load_array(taps_.at(id), overlap_row(id, k) + own_step_);
  before = cut(id, before);
  const Value sum = b_->apply(Op::Add, {get(n.operands[0]), before});
  b_->store_array(taps_.at(id), overlap_row(id, k + 1) + (own_step_ + 1), sum);
  if (!full_tile() && !enters_tiles(id)) b_->store_array(states_.at(id), carry_home(id), sum);
  return sum;
}

}  // namespace mambac
