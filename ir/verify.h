// The invariants of a graph, checked after every pass.
#pragma once

#include "ir/error.h"
#include "ir/graph.h"

namespace mambac {

/// A node breaks an invariant.
class NodeFailure : public InternalError {
 public:
  NodeFailure(const Graph& graph, const Node& node, const std::string& message);
  const std::string& node() const { return node_; }

 private:
  std::string node_;  // its name
};

/// Throws InternalError (NodeFailure, where it is one node) when: an operand comes after its user, a name is there
/// twice, a type is not what the op's rule gives, an output has no value or its name twice, a dimension has two roles
/// in a kernel, or none where a member reads or makes it, a recurrence is in no walk along its dimension, or the
/// kernels (Node::kernel) need each other in a cycle.
void verify(const Graph& graph);

}  // namespace mambac
