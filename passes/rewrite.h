// Building a graph from another one: the frame that every pass shares.
#pragma once

#include "ir/builder.h"

namespace mambac {

/// A graph of the same name and dimensions without nodes and outputs. DimIds of `graph` mean the same in it.
Graph empty_like(const Graph& graph);

/// A value keeps its name from pass to pass, and no other value gets it: the nodes of `image` (by old node; absent: gone)
/// have the names of the old nodes, all others names that the old graph does not have. Of several old nodes with one
/// image the first names it. Inputs and parameters that take the place of other ops have names of their own.
void settle_names(Graph& graph, const Graph& from, const std::vector<NodeId>& image);

/// Copies a graph node by node, in order, so that a pass says only what it does differently.
class Rewriter {
 public:
  explicit Rewriter(const Graph& from);

  const Graph& from;
  Graph to;

  /// The new id of an old node; absent for an absent operand or a node that was not mapped yet.
  NodeId mapped(NodeId old) const { return old.present() ? map_[old.index] : NodeId{}; }
  /// What is mapped first is the value itself and has its name; a cast of it, say, may take its place later.
  void map(NodeId old, NodeId now) {
    map_[old.index] = now;
    if (!image_[old.index].present()) image_[old.index] = now;
  }
  /// The old node with its operands mapped: what would be appended by copy().
  Node translated(NodeId old) const;
  NodeId copy(NodeId old);
  /// Appends outputs of the old graph, mapped.
  void copy_outputs();
  /// The new graph, with settled names.
  Graph take();

 private:
  std::vector<NodeId> map_, image_;
};

/// `x` repeated along the dimensions that it lacks and in the order of `dims`, except that free dimensions come first
/// in the order of their declaration, as in every value that ops make.
NodeId with_dims(Builder& b, NodeId x, const std::vector<DimId>& dims);

/// The value in another element type, after it: "x.bf16", at its place in the definition and in its kernel.
NodeId append_cast(Graph& graph, NodeId value, DType to);

/// Users of every node, in order; outputs do not count.
std::vector<std::vector<NodeId>> users_of(const Graph& graph);

/// Whether an output names the node, by node index.
std::vector<bool> output_nodes(const Graph& graph);

}  // namespace mambac
