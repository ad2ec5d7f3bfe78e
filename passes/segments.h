// Where a forward graph can be cut, so that its backward pass may compute a part of it again.
#pragma once

#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace mambac {

/// Parts of the forward graph of one output: what lies between values on which everything later depends, with at least
/// one recurrence each (in a deep model: its layers, between values of the residual stream). Nothing computed before
/// such a value is read after it, inputs and what is made of parameters alone left out of account (the "cut vertices"
/// of Chen et al., arXiv 1604.06174, section 4). Of several values that would do, the smallest ends a part.
struct Segments {
  std::vector<NodeId> ends;    // of each part but the last, which goes to the output; in the order of the graph
  std::vector<bool> computed;  // by node: a value that the output needs and that depends on an input
};
Segments segments_of(const Graph& graph, NodeId output);

/// How many parts can be computed again for the gradients of an output: all but the last, which is read at once.
int recomputable_parts(const Graph& graph, std::string_view output);

}  // namespace mambac
