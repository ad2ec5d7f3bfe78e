#include "tools/graph_edit.h"

#include "ir/verify.h"
#include "passes/rewrite.h"

namespace mambac::tools {
namespace {

bool is_source(const Node& node) {
  return node.op == Op::Input || node.op == Op::Param || node.op == Op::Const;
}

/// A value of the same name and type that is given from outside.
Node as_input(const Node& node) {
  Node input;
  input.op = Op::Input;
  input.type = node.type;
  input.name = node.name;
  input.location = node.location;
  return input;
}

Node as_constant(const Node& node) {
  Node constant = as_input(node);
  constant.op = Op::Const;
  constant.attrs.number = 1;
  return constant;
}

Graph with_nodes_edited(const Graph& graph, const GraphEdit& edit) {
  Rewriter rewriter(graph);
  rewriter.to.kernels = graph.kernels;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const NodeId id{i};
    const Node& node = graph.node(id);
    switch (edit.nodes[i].kind) {
      case NodeEdit::keep:
        rewriter.copy(id);
        break;
      case NodeEdit::input:
        rewriter.map(id, rewriter.to.append(as_input(node)));
        break;
      case NodeEdit::constant:
        rewriter.map(id, rewriter.to.append(as_constant(node)));
        break;
      case NodeEdit::operand:
        rewriter.map(id, rewriter.mapped(node.operands[edit.nodes[i].number]));
        break;
    }
  }
  for (const Output& output : edit.outputs)
    rewriter.to.outputs().push_back({output.name, rewriter.mapped(output.value)});
  rewriter.to.remove_dead(false);
  return std::move(rewriter.to);
}

/// Calls visit(dim) for all dimensions that the graph's nodes and kernels name.
template <typename Graphs, typename Visit>
void each_dim(Graphs& graph, const Visit& visit) {
  for (uint32_t i = 0; i < graph.size(); ++i) {
    auto& node = graph.node(NodeId{i});
    for (auto& d : node.type.dims) visit(d);
    for (auto& d : node.attrs.dims) visit(d);
  }
  for (auto& kernel : graph.kernels) {
    for (auto* one : {&kernel.along, &kernel.lane})
      if (*one != DimId{}) visit(*one);
    for (auto* some : {&kernel.outer, &kernel.inner})
      for (auto& d : *some) visit(d);
  }
}

void drop_empty_kernels(Graph& graph) {
  std::vector<int> numbers(graph.kernels.size(), -1);
  for (const Node& node : graph.nodes())
    if (node.kernel >= 0) numbers[static_cast<size_t>(node.kernel)] = 0;
  std::vector<KernelGroup> kept;
  for (size_t k = 0; k < numbers.size(); ++k) {
    if (numbers[k] < 0) continue;
    numbers[k] = static_cast<int>(kept.size());
    kept.push_back(graph.kernels[k]);
  }
  graph.kernels = std::move(kept);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    int& kernel = graph.node(NodeId{i}).kernel;
    if (kernel >= 0) kernel = numbers[static_cast<size_t>(kernel)];
  }
}

/// The dimensions of a graph that are in use, with other sizes, in another graph.
class DimCopies {
 public:
  DimCopies(const Graph& from, const std::vector<int64_t>& sizes, Graph& to) : copies_(from.dims().size()) {
    std::vector<bool> used(from.dims().size());
    each_dim(from, [&](DimId d) { used[d.index] = true; });
    for (size_t i = used.size(); i-- > 0;)
      if (used[i] && from.dims()[i].is_tiles()) used[from.dims()[i].base.index] = true;
    for (size_t i = 0; i < used.size(); ++i)
      if (used[i]) copies_[i] = copy(from.dims()[i], sizes[i], to);
  }

  DimId of(DimId old) const { return copies_[old.index]; }

 private:
  DimId copy(const Dim& dim, int64_t size, Graph& to) const {
    if (dim.is_tiles()) return to.add_tiles(of(dim.base), dim.divisor);
    const bool is_number = !dim.is_free() && dim.name == std::to_string(dim.size);
    return to.add_dim(is_number ? std::to_string(size) : dim.name, size);
  }

  std::vector<DimId> copies_;
};

Graph with_dims_resized(const Graph& graph, const std::vector<int64_t>& sizes) {
  Graph to;
  to.name = graph.name;
  const DimCopies dims(graph, sizes, to);
  Graph moved = graph;
  each_dim(moved, [&](DimId& d) { d = dims.of(d); });
  for (const Node& node : moved.nodes()) to.append(node);
  to.kernels = moved.kernels;
  to.outputs() = moved.outputs();
  return to;
}

}  // namespace

GraphEdit::GraphEdit(const Graph& graph) : nodes(graph.size()), outputs(graph.outputs()) {
  for (const Dim& dim : graph.dims()) sizes.push_back(dim.size);
}

std::optional<Graph> edited(const Graph& graph, const GraphEdit& edit) {
  try {
    Graph made = with_nodes_edited(graph, edit);
    drop_empty_kernels(made);
    made = with_dims_resized(made, edit.sizes);
    verify(made);
    return made;
  } catch (const Failure&) {
    return std::nullopt;
  }
}

std::vector<NodeId> ops_of(const Graph& graph) {
  std::vector<NodeId> ops;
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (!is_source(graph.nodes()[i])) ops.push_back({i});
  return ops;
}

}  // namespace mambac::tools
