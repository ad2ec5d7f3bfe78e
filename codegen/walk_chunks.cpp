// A walk in chunks: when it is legal, the summaries of chunks and how they are joined.
#include "codegen/walk_lowering.h"

#include <algorithm>

#include "codegen/lower.h"

namespace mambac {

using loop::Int;
using loop::Value;

namespace {

/// A sum over this dimension that is complete only after the kernel.
bool sums_late(const Graph& fused, const KernelGroup& group, const Node& node, DimId dim) {
  const std::vector<DimId> reduced = reduced_dims(node);
  return is_late(fused, group, node) && std::find(reduced.begin(), reduced.end(), dim) != reduced.end();
}

}  // namespace

std::vector<DimId> WalkLowering::chunk_dims(NodeId scan) const {
  std::vector<DimId> dims = group_.outer;
  for (DimId d : inner_of_type(scan)) dims.push_back(d);
  if (group_.lane != DimId{} && result_has_lane(scan)) dims.push_back(group_.lane);
  return dims;
}

void WalkLowering::make_chunk_arrays(NodeId scan) {
  const std::string& name = w_.node(scan).name;
  products_[scan] = value_array(scan, "product", count(inner_of_type(scan)));
  const Int elements = w_.size(chunk_dims(scan)) * s_.chunks;
  chunk_states_.states[scan] = w_.temporary(name + ".chunk.states", elements);
  chunk_states_.products[scan] = w_.temporary(name + ".chunk.products", elements);
}

Value WalkLowering::load_chunk(const std::map<NodeId, int>& buffers, NodeId scan, const Int& chunk) {
  return w_.load_slot(*b_, buffers.at(scan), chunk, chunk_dims(scan), env_);
}

void WalkLowering::store_chunk_value(const std::map<NodeId, int>& buffers, NodeId scan, const Int& chunk, Value value) {
  w_.store_slot(*b_, buffers.at(scan), chunk, chunk_dims(scan), env_to_store(scan), value);
}

void WalkLowering::store_summaries(bool with_lanes) {
  for (const auto& [id, products] : products_) {
    if (lanes(id) != with_lanes) continue;
    const loop::OriginScope origin = w_.from(*b_, id);
    once(with_lanes, [&, id = id, products = products] {
      each_state(id, [&](const Int& at) {
        store_chunk_value(chunk_states_.states, id, chunk_, b_->load_array(states_.at(id), at));
        store_chunk_value(chunk_states_.products, id, chunk_, b_->load_array(products, at));
      });
    });
  }
}

/// A product of decays may be beyond f32 where a walk is not: while its state is 0. And it is no number where a decay of 0
/// comes after such ones.
Value WalkLowering::left_of(Value state, Value product) {
  const Value left = b_->apply(Op::Mul, {product, state});
  const Value is_number = b_->apply(Op::Eq, {left, left}), nothing = b_->apply(Op::Mul, {state, b_->number(0)});
  return b_->apply(Op::Select, {is_number, left, nothing});
}

void WalkLowering::join_chunks(bool with_lanes) {
  for (const auto& [id, states] : states_) {
    if (lanes(id) != with_lanes) continue;
    const loop::OriginScope origin = w_.from(*b_, id);
    once(with_lanes, [&, id = id, states = states] {
      each_state(id, [&](const Int& at) {
        const Int chunk = b_->open_for(constant(0), constant(s_.chunks));
        const Value before = b_->load_array(states, at);
        const Value end = load_chunk(chunk_states_.states, id, chunk);
        const Value product = load_chunk(chunk_states_.products, id, chunk);
        store_chunk_value(chunk_states_.states, id, chunk, before);
        b_->store_array(states, at, b_->apply(Op::Add, {left_of(before, product), end}));
        b_->close();
      });
    });
  }
}

bool can_chunk(const Graph& fused, int number) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  if (group.kind != KernelGroup::walk) return false;
  std::vector<bool> after_scan(fused.size(), false);
  for (uint32_t i = 0; i < fused.size(); ++i) {
    const Node& n = fused.node(NodeId{i});
    if (n.kernel != number || n.op == Op::ChunkStarts) continue;
    if (sums_late(fused, group, n, group.along) || sums_late(fused, group, n, group.lane)) return false;
    after_scan[i] = std::any_of(n.operands.begin(), n.operands.end(),
                                [&](NodeId o) { return o.present() && after_scan[o.index]; });
    if (!is_directional(n.op)) continue;
    if (n.op != Op::Scan || operand(n, "resume").present() || after_scan[i]) return false;
    after_scan[i] = true;
  }
  return true;
}

bool can_keep_states_in_registers(const Graph& fused, int number) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  return group.kind == KernelGroup::walk &&
         std::none_of(fused.nodes().begin(), fused.nodes().end(), [&](const Node& n) {
           return n.kernel == number && sums_late(fused, group, n, group.lane);
         });
}

}  // namespace mambac
