// A graph with parts taken out of it.
#pragma once

#include <optional>
#include <vector>

#include "ir/graph.h"

namespace mambac::tools {

/// What becomes of a node.
struct NodeEdit {
  enum Kind : uint8_t { keep, input, constant, operand };
  Kind kind = keep;
  size_t number = 0;  // operand: which one takes its place
};

struct GraphEdit {
  explicit GraphEdit(const Graph& graph);

  std::vector<NodeEdit> nodes;  // of each node
  std::vector<Output> outputs;  // in the place of the graph's
  std::vector<int64_t> sizes;   // of each dimension; those of free ones are 0
};

/// The graph after an edit. What no output needs is gone, sources, dimensions and kernels too. Nothing when it would be
/// no graph: an op's rule is broken, or verify refuses it.
std::optional<Graph> edited(const Graph& graph, const GraphEdit& edit);

/// Nodes that compute: no inputs, parameters and constants.
std::vector<NodeId> ops_of(const Graph& graph);

}  // namespace mambac::tools
