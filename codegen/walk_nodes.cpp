// The value of one node at one step, and where it goes.
#include "codegen/walk_lowering.h"

#include <utility>

namespace mambac {

using loop::Int;
using loop::Value;

void WalkLowering::run_node(NodeId id) {
  const loop::OriginScope origin = w_.from(*b_, id);
  const Node& n = w_.node(id);
  if (n.op == Op::At && late(id)) {
    store_end(id);
    return;
  }
  w_.comment(*b_, id);
  if (folds(id)) return fold(id);
  const Value value = evaluate(id);
  if (late(id) && !sums_in_tile(id)) {
    add_late(id, value);
    return;
  }
  if (sums_in_tile(id)) {
    const auto parts = piece_sums_.find(id);
    if (parts != piece_sums_.end())
      accumulate(parts->second, place(id) * tile() + step_, combine(id), value);
    else
      accumulate(tile_arrays_.at(id), step_place(id), combine(id), value);
    return;
  }
  cache_[id] = value;
  auto tile_array = tile_arrays_.find(id);
  if (tile_array != tile_arrays_.end())
    b_->store_array(tile_array->second, step_place(id), value);
  auto sweep_array = sweep_arrays_.find(id);
  if (sweep_array != sweep_arrays_.end()) b_->store_array(sweep_array->second, sweep_place(id), value);
  if (stored(id)) store_value(id, value);
}

void WalkLowering::store_value(NodeId id, Value value) {
  once(result_has_lane(id), [&] { w_.store(*b_, id, env_to_store(id), value); });
}

void WalkLowering::store_end(NodeId id) {
  const Node& n = w_.node(id);
  const Value value = get(n.operands[0]);
  const Int t = env_.at.at(group_.along);
  const int64_t index = index_along(id);
  const Int wanted = index < 0 ? w_.size(group_.along) + index : constant(index);
  if (turns_) return w_.store(*b_, id, env_at_end(wanted), value);
  if (index != kLast) b_->open_if(t, wanted + 1);
  if (index != 0) b_->open_if(wanted, t + 1);
  store_value(id, value);
  if (index != kLast) b_->close();
  if (index != 0) b_->close();
}

Value WalkLowering::evaluate(NodeId id) {
  const loop::OriginScope origin = w_.from(*b_, id);
  const Node& n = w_.node(id);
  switch (n.op) {
    case Op::Sum:
    case Op::Amax: return get(n.operands[0]);
    case Op::Dot: return b_->apply(Op::Mul, {get(n.operands[0]), get(n.operands[1])});
    case Op::Scan: return scan(id);
    case Op::Delay: return delay(id);
    case Op::Window: return window(id);
    case Op::Overlap: return overlap(id);
    case Op::Put: return w_.put(*b_, n, env_, get(n.operands[0]));
    case Op::At:
    case Op::Slice:
    case Op::Shift:
      return w_.moved(*b_, n, env_, [&] {
        auto here = std::exchange(cache_, {});
        const Value value = get(n.operands[0]);
        cache_ = std::move(here);
        return value;
      });
    default: break;
  }
  std::vector<Value> args;
  for (NodeId o : n.operands) args.push_back(get(o));
  return apply_pointwise(*b_, n, args);
}

Value WalkLowering::get(NodeId o) {
  auto cached = cache_.find(o);
  if (cached != cache_.end()) return cached->second;
  return cache_[o] = fetch(o);
}

Value WalkLowering::fetch(NodeId o) {
  if (w_.is_immediate(o)) return w_.immediate(*b_, o, env_);
  if (invariant_arrays_.count(o)) {
    auto loaded = preloaded_.find(o);
    return loaded != preloaded_.end() ? loaded->second : read_invariant(o);
  }
  if (taps_.count(o)) return w_.node(o).op == Op::Window ? window(o) : read_overlap(o);
  if (made_again_.count(o)) return evaluate(o);
  auto sweep_array = sweep_arrays_.find(o);
  if (sweep_array != sweep_arrays_.end()) return b_->load_array(sweep_array->second, sweep_place(o));
  auto tile_array = tile_arrays_.find(o);
  if (tile_array != tile_arrays_.end()) return load_step(o, tile_array->second);
  check(!w_.inside(o), "lowering: a value of the kernel is read before its array was made");
  return w_.load(*b_, o, env_);
}

}  // namespace mambac
