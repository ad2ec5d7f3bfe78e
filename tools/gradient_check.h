// The gradient rules that a graph needs, each against differences of what its op means.
#pragma once

#include <functional>
#include <optional>

#include "ir/eval.h"

namespace mambac::tools {

/// A rule that is wrong for one node.
struct WrongRule {
  NodeId node;
  size_t operand = 0;
  double rule = 0;        // what it gives for the result along a direction of the operand
  double difference = 0;  // central differences of the op
};

/// How far rule and differences may be apart beyond the error of differences, of the sum of the absolute values of what
/// both add up.
constexpr double kGradientTolerance = 1e-6;

/// Takes every node of a graph before differentiation by itself, with the operands that the graph has at these inputs,
/// moved a little from where a maximum would have ties, and compares its gradient by each operand of float type that is
/// no constant, along a random direction, with central differences in float64. Their error is bounded by the roundings
/// of the op and by differences of twice the step. Elements of the result that have a kink within the steps are left
/// out. Nothing when all rules are right.
std::optional<WrongRule> find_wrong_rule(const Graph& forward, const Bindings& sizes, const Arrays& inputs,
                                         const std::function<void(size_t)>& done);

}  // namespace mambac::tools
