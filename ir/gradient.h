// The gradient rules of the op table, as graph code.
#pragma once

#include <functional>
#include <vector>

#include "ir/builder.h"

namespace mambac {

/// What flows to each operand of `node` when `out_grad` flows into its result; absent where nothing flows (integers,
/// masks, absent operands). Appends to the builder's graph, which holds the node.
///
/// A gradient may lack dimensions of the value it belongs to: it is then the same along them. So `out_grad` has at most
/// the dimensions of the node's type, each contribution at most those of its operand, and contributions add up with
/// `Add` as they are. `broadcast_to` makes a gradient whole where it leaves the graph.
///
/// InputError at the node's location when the op is not differentiable.
std::vector<NodeId> gradient(Builder& b, NodeId node, NodeId out_grad);

/// Called with every node and what its rule gave, which it may change. Empty, but in tests that plant a wrong rule.
using GradientHook = std::function<void(Builder& b, const Node& node, std::vector<NodeId>& to)>;
GradientHook& gradient_hook();

/// Sums a gradient of a value of type `from` (it may lack dimensions of it) over the dimensions that `target` lacks.
NodeId sum_to(Builder& b, NodeId g, const Type& from, const Type& target);

/// Repeats `g` along the dimensions of `target` that it lacks. Their order may differ from the target's.
NodeId broadcast_to(Builder& b, NodeId g, const Type& target);

}  // namespace mambac
