// A walk that remembers few steps, in spans: how many steps, and what a task computes before its span.
#include "codegen/walk_lowering.h"

#include <algorithm>

#include "codegen/lower.h"

namespace mambac {

using loop::Int;
using loop::Value;

namespace {

/// The steps back that a recurrence looks at what the kernel computes; absent: all of them.
std::optional<int64_t> steps_back(const Graph& fused, const Node& node) {
  if (operand(node, "resume").present()) return 0;
  if (node.op == Op::Scan) return std::nullopt;
  if (node.op == Op::Delay) return 1;
  if (node.op == Op::Window && fused.node(node.operands[0]).kernel != node.kernel) return 0;  // memory has them
  return fused.dim(node.attrs.dims[1]).size - 1;
}

}  // namespace

std::optional<int64_t> steps_remembered(const Graph& fused, int number) {
  if (fused.kernels[static_cast<size_t>(number)].kind != KernelGroup::walk) return std::nullopt;
  std::vector<int64_t> behind(fused.size(), 0);  // each value, with all that it is made of
  for (uint32_t i = 0; i < fused.size(); ++i) {
    const Node& n = fused.node(NodeId{i});
    if (n.kernel != number || n.op == Op::ChunkStarts) continue;
    for (NodeId o : n.operands)
      if (o.present() && fused.node(o).kernel == number) behind[i] = std::max(behind[i], behind[o.index]);
    if (!is_directional(n.op)) continue;
    const std::optional<int64_t> back = steps_back(fused, n);
    if (!back) return std::nullopt;
    behind[i] += *back;
  }
  return *std::max_element(behind.begin(), behind.end());
}

std::vector<NodeId> WalkLowering::warm_up_nodes() const {
  std::set<NodeId> needed;
  for (auto id = step_nodes_.rbegin(); id != step_nodes_.rend(); ++id) {
    if (directional(*id) && *steps_back(w_.graph(), w_.node(*id)) > 0) needed.insert(*id);
    if (!needed.count(*id)) continue;
    for (NodeId o : w_.node(*id).operands)
      if (o.present() && w_.inside(o) && walks(o)) needed.insert(o);
  }
  return {needed.begin(), needed.end()};
}

void WalkLowering::plan_warm_up() {
  warm_up_ = tile_plan(warm_up_nodes());
  warm_up_tiles_ = (*steps_remembered(w_.graph(), w_.number()) + tile() - 1) / tile();
}

Value WalkLowering::entering_state(NodeId id) {
  if (w_.node(id).op != Op::Window || w_.inside(operand_of(id, "x"))) return first_state(id);
  const DimId taps = w_.node(id).attrs.dims[1];
  const Int first = warm_up_.nodes.count(id) ? warm_up_tile_ : first_tile_;
  return load_tap(id, first * tile() + env_.at.at(taps) - w_.graph().dim(taps).size);
}

}  // namespace mambac
