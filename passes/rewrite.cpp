#include "passes/rewrite.h"

#include "ir/dims.h"

namespace mambac {

Graph empty_like(const Graph& graph) {
  Graph result;
  result.name = graph.name;
  for (const Dim& dim : graph.dims()) {
    if (dim.is_tiles()) {
      result.add_tiles(dim.base, dim.divisor);
    } else {
      result.add_dim(dim.name, dim.size);
    }
  }
  return result;
}

void settle_names(Graph& graph, const Graph& from, const std::vector<NodeId>& image) {
  std::vector<std::string> names(graph.size());
  for (uint32_t i = 0; i < from.size(); ++i) {
    const Node& old = from.node(NodeId{i});
    if (!image[i].present() || !names[image[i].index].empty()) continue;
    const Op op = graph.node(image[i]).op;
    if (op == old.op || (op != Op::Input && op != Op::Param)) names[image[i].index] = old.name;
  }
  graph.rename(names, from);
}

Rewriter::Rewriter(const Graph& graph)
    : from(graph), to(empty_like(graph)), map_(graph.size()), image_(graph.size()) {}

Graph Rewriter::take() {
  settle_names(to, from, image_);
  return std::move(to);
}

Node Rewriter::translated(NodeId old) const {
  Node node = from.node(old);
  for (NodeId& operand : node.operands) operand = mapped(operand);
  return node;
}

NodeId Rewriter::copy(NodeId old) {
  NodeId now = to.append(translated(old));
  map(old, now);
  return now;
}

void Rewriter::copy_outputs() {
  for (const Output& output : from.outputs()) to.outputs().push_back({output.name, mapped(output.value)});
}

NodeId with_dims(Builder& b, NodeId x, const Dims& dims) {
  const Dims wanted = ordered(b.graph(), dims);
  x = b.broadcast(x, without(wanted, b.graph().node(x).type.dims));
  if (b.graph().node(x).type.dims == wanted) return x;
  if (b.graph().node(x).op == Op::Dot) {  // the dimensions of its result come in the order of its operands
    Node swapped = b.graph().node(x);
    std::swap(swapped.operands[0], swapped.operands[1]);
    if (infer_type(b.graph(), swapped).dims == wanted) return b.graph().append(swapped);
  }
  NodeId zeros = b.constant(0);
  for (auto dim = wanted.rbegin(); dim != wanted.rend(); ++dim) zeros = b.broadcast(zeros, {*dim});
  return b.Add(zeros, x);
}

NodeId append_cast(Graph& graph, NodeId value, DType to) {
  Node cast;
  cast.op = Op::Cast;
  cast.operands = {value};
  cast.attrs.dtype = to;
  cast.name = graph.node(value).name + "." + name_of(to);
  cast.location = graph.node(value).location;
  cast.kernel = graph.node(value).kernel;
  return graph.append(std::move(cast));
}

std::vector<std::vector<NodeId>> users_of(const Graph& graph) {
  std::vector<std::vector<NodeId>> users(graph.size());
  for (uint32_t i = 0; i < graph.size(); ++i) {
    for (NodeId operand : graph.nodes()[i].operands) {
      if (operand.present()) users[operand.index].push_back(NodeId{i});
    }
  }
  return users;
}

std::vector<bool> output_nodes(const Graph& graph) {
  std::vector<bool> result(graph.size(), false);
  for (const Output& output : graph.outputs()) result[output.value.index] = true;
  return result;
}

}  // namespace mambac
