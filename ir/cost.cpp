#include "ir/cost.h"

#include <set>

namespace mambac {

namespace {

double elements(const Graph& graph, NodeId id, const Bindings& bindings) {
  return static_cast<double>(elements_of(graph, graph.node(id).type, bindings));
}

double bytes(const Graph& graph, NodeId id, const Bindings& bindings) {
  return elements(graph, id, bindings) * static_cast<double>(bytes_of(graph.node(id).type.dtype));
}

/// How often the op's work of the table is done: per element of the result, of the operand (a reduction), per
/// multiply-add (a contraction), per value added (a scatter).
double repetitions(const Graph& graph, NodeId id, const Bindings& bindings) {
  const Node& node = graph.node(id);
  if (class_of(node.op) == OpClass::Reduction) return elements(graph, node.operands[0], bindings);
  if (node.op == Op::Scatter) return elements(graph, node.operands[1], bindings);
  double count = elements(graph, id, bindings);
  if (class_of(node.op) != OpClass::Contraction) return count;
  if (node.op == Op::PartDot)
    return count * static_cast<double>(graph.dim(node.attrs.dims[0]).size / graph.dim(node.attrs.dims[1]).size);
  for (DimId dim : node.attrs.dims) count *= static_cast<double>(size_of(graph, dim, bindings));
  return count;
}

}  // namespace

Cost& Cost::operator+=(const Cost& other) {
  flops += other.flops;
  exponentials += other.exponentials;
  bytes_read += other.bytes_read;
  bytes_written += other.bytes_written;
  return *this;
}

Cost cost_of(const Graph& graph, NodeId id, const Bindings& bindings) {
  const Node& node = graph.node(id);
  if (class_of(node.op) == OpClass::Source) return {};
  const OpInfo& op = info(node.op);
  double count = repetitions(graph, id, bindings);
  Cost cost{op.flops * count, op.exponentials * count, 0, bytes(graph, id, bindings)};
  for (NodeId operand : std::set<NodeId>(node.operands.begin(), node.operands.end())) {
    if (operand.present()) cost.bytes_read += bytes(graph, operand, bindings);
  }
  return cost;
}

Cost cost_of(const Graph& graph, const Bindings& bindings) {
  Cost total;
  for (uint32_t i = 0; i < graph.size(); ++i) total += cost_of(graph, NodeId{i}, bindings);
  return total;
}

}  // namespace mambac
