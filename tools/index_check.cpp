#include "tools/index_check.h"

#include <algorithm>

#include "passes/rewrite.h"

namespace mambac::tools {
namespace {

/// Whether the node is an integer input, or moves such values.
bool is_known(const Rewriter& r, const Node& node) {
  if (is_float(node.type.dtype)) return false;
  if (node.op == Op::Input) return true;
  const bool moves = class_of(node.op) == OpClass::Layout || node.op == Op::Stop || node.op == Op::Cast;
  return moves && std::ranges::all_of(node.operands, [&](NodeId operand) { return r.mapped(operand).present(); });
}

/// The same look-up in as little as it can look up in: a table of one number in each row, or a single value.
void look_up(Rewriter& r, NodeId id) {
  Node node = r.translated(id);
  Builder b(r.to);
  if (node.op == Op::Gather)
    node.operands[0] = b.op(Op::Iota, {}, {.dims = {node.attrs.dims[0]}});
  else
    node.operands[1] = b.constant(1);
  node.type = infer_type(r.to, node);
  r.to.outputs().push_back({node.name, r.to.append(std::move(node))});
}

}  // namespace

void check_indices(const Graph& graph, const Bindings& sizes, const Arrays& values) {
  Rewriter r(graph);
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (is_known(r, graph.node(NodeId{i}))) r.copy(NodeId{i});
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph.node(NodeId{i});
    const bool gathers = node.op == Op::Gather, scatters = node.op == Op::Scatter;
    if ((gathers || scatters) && r.mapped(node.operands[gathers ? 1 : 0]).present()) look_up(r, NodeId{i});
  }
  evaluate(r.to, sizes, values);
}

}  // namespace mambac::tools
