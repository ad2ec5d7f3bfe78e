#include "tools/gradient_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "passes/differentiate.h"
#include "passes/rewrite.h"
#include "runtime/rng.h"
#include "tools/rounding.h"
#include "tools/value_check.h"

namespace mambac::tools {
namespace {

constexpr double kStep = 1e-5;  // of the size of an operand
constexpr double kKink = 1e-3;  // slopes at two step sizes so far apart, of their size

/// The slope of one element of an op's result along a direction, by differences.
struct Slope {
  double value = 0;
  double bound = 0;  // how far it may be from the exact one: rounding over the step, and what the step cuts off
  bool judged = false;
};

/// From the results at -2 to 2 steps, each rounded by at most `rounding`. Slopes to both sides are as far apart as the
/// step is long where the result bends, and at a kink in one point equally far at any step. So what changes between two
/// step sizes beyond that bounds the error of both; where it is much, there is a kink, and no slope to judge by.
Slope slope_of(const std::array<double, 5>& y, double rounding) {
  const double below = (y[2] - y[1]) / kStep, above = (y[3] - y[2]) / kStep;
  const double far_below = (y[2] - y[0]) / (2 * kStep), far_above = (y[4] - y[2]) / (2 * kStep);
  const double slope = (above + below) / 2, noise = rounding / kStep;
  const double straight = std::abs((far_above + far_below) / 2 - slope);
  const double bent = std::abs((far_above - far_below) - 2 * (above - below));
  const double change = straight + bent;
  return {slope, change + noise, change <= kKink * (std::abs(above) + std::abs(below)) + 12 * noise};
}

/// One node as a graph: its operands are the inputs x0, x1, ..., its result is the output y.
class OneOp {
 public:
  OneOp(const Graph& graph, NodeId id, const Bindings& sizes, const std::vector<Array>& values, Rng& rng)
      : sizes_(sizes), rng_(rng), graph_(empty_like(graph)) {
    Node node = graph.node(id);
    for (size_t k = 0; k < node.operands.size(); ++k) {
      const NodeId operand = node.operands[k];
      if (!operand.present()) continue;
      const Type& type = graph.node(operand).type;
      Builder builder(graph_);
      node.operands[k] = builder.input(name(k), type);
      x_[name(k)] = values[operand.index];
      if (is_float(type.dtype)) avoid_ties(x_[name(k)]);
    }
    graph_.outputs().push_back({"y", graph_.append(std::move(node))});
  }

  /// The rule by one of the operands.
  std::optional<WrongRule> check(NodeId id, size_t operand) {
    Array direction = direction_of(operand);
    const std::vector<Slope> slopes = slopes_along(operand, direction);
    Arrays values = x_;
    Array& seed = values["seed.y"] = {shape_of(graph_, result().type, sizes_), {}};
    double difference = 0, terms = 0, bound = 0;
    bool all_judged = true;
    for (const Slope& slope : slopes) {
      const double weight = slope.judged ? rng_.uniform() + 0.5 : 0;
      seed.data.push_back(weight);
      all_judged = all_judged && slope.judged;
      if (!slope.judged) continue;
      difference += weight * slope.value;
      terms += std::abs(weight * slope.value);
      bound += weight * slope.bound;
    }
    values["direction"] = std::move(direction);
    const Arrays along = evaluate(gradient_along(operand), sizes_, values);
    const double rule = along.at("sum").data[0];
    if (!std::isfinite(rule) && !all_judged) return std::nullopt;  // 0 times an infinite slope that is left out
    bound += kGradientTolerance * (terms + along.at("terms").data[0]);
    if (std::abs(rule - difference) <= bound) return std::nullopt;
    return WrongRule{id, operand, rule, difference};
  }

 private:
  static std::string name(size_t operand) { return fmt::format("x{}", operand); }

  /// Moves every element a little, away from 0.
  void avoid_ties(Array& array) {
    const double mean = root_mean_square(array.data), size = 1e-3 * (mean > 0 ? mean : 1);
    for (double& x : array.data) x += (x < 0 ? -size : size) * (0.5 + rng_.uniform());
  }

  /// As large as the operand's elements; none where a wave would turn too far within a step to be followed.
  Array direction_of(size_t operand) {
    Array direction = x_.at(name(operand));
    const double size = root_mean_square(direction.data);
    const bool waves = result().op == Op::Sin || result().op == Op::Cos;
    for (double& v : direction.data) {
      v = (std::abs(v) + 0.1 * size) * (2 * rng_.uniform() - 1);
      if (waves && kStep * std::abs(v) > 0.1) v = 0;
    }
    return direction;
  }

  /// Of each element of the result, when an operand moves along a direction.
  std::vector<Slope> slopes_along(size_t operand, const Array& direction) const {
    std::array<Array, 5> y;
    for (size_t k = 0; k < y.size(); ++k) y[k] = moved(operand, direction, (static_cast<double>(k) - 2) * kStep);
    const std::vector<double> roundings = roundings_of(y[2]);
    std::vector<Slope> slopes;
    for (size_t i = 0; i < roundings.size(); ++i)
      slopes.push_back(slope_of({y[0].data[i], y[1].data[i], y[2].data[i], y[3].data[i], y[4].data[i]}, roundings[i]));
    return slopes;
  }

  /// How far the elements of the op's result may be from exact ones in float64: what bounds the roundings of f32, in
  /// the units of float64, and those of the operands that were moved.
  std::vector<double> roundings_of(const Array& y) const {
    constexpr double kRounding = 0x1p-53, kOfF32 = 0x1p-24;
    std::vector<Array> values(graph_.size());
    for (const auto& [name, array] : x_) values[graph_.find(name)->index] = array;
    std::vector<double> bounds = rounding_bounds(graph_, graph_.outputs()[0].value, sizes_, values, y);
    for (size_t i = 0; i < bounds.size(); ++i)
      bounds[i] = bounds[i] * (kRounding / kOfF32) + 2 * kRounding * std::abs(y.data[i]);
    return bounds;
  }

  /// The sum of the gradient by an operand times the input `direction`, and that of the absolute values.
  Graph gradient_along(size_t operand) const {
    Graph graph = differentiate_with_seeds(graph_, {name(operand)});
    const Type type = graph.node(*graph.find(name(operand))).type;
    Builder b(graph);
    const NodeId product = b.Mul(graph.outputs().back().value, b.input("direction", {DType::f32, type.dims}));
    const std::vector<DimId> dims = graph.node(product).type.dims;
    graph.outputs() = {{"sum", b.sum(product, dims)}, {"terms", b.sum(b.Abs(product), dims)}};
    return graph;
  }

  const Node& result() const { return graph_.node(graph_.outputs()[0].value); }

  /// The op's result when an operand is moved by `step` along a direction.
  Array moved(size_t operand, const Array& direction, double step) const {
    Arrays values = x_;
    Array& x = values.at(name(operand));
    for (size_t i = 0; i < x.data.size(); ++i) x.data[i] += step * direction.data[i];
    return evaluate(graph_, sizes_, values).at("y");
  }

  const Bindings& sizes_;
  Rng& rng_;
  Graph graph_;
  Arrays x_;
};

/// What gradients may be taken by: nodes of float type that inputs or parameters lead to.
std::vector<bool> differentiable(const Graph& graph) {
  std::vector<bool> varies(graph.size());
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph.node(NodeId{i});
    const auto leads = [&](NodeId operand) { return operand.present() && varies[operand.index]; };
    const bool outside = node.op == Op::Input || node.op == Op::Param;
    varies[i] = is_float(node.type.dtype) && (outside || std::ranges::any_of(node.operands, leads));
  }
  return varies;
}

/// The operands that the node's rule gives gradients of.
std::vector<size_t> operands_of_rule(const Node& node, const std::vector<bool>& differentiable) {
  const OpInfo& op = info(node.op);
  std::vector<size_t> operands;
  if (op.gradient_missing || op.gradient_none || class_of(node.op) == OpClass::Source) return operands;
  if (!is_float(node.type.dtype)) return operands;
  for (size_t k = 0; k < node.operands.size(); ++k)
    if (node.operands[k].present() && differentiable[node.operands[k].index]) operands.push_back(k);
  return operands;
}

}  // namespace

std::optional<WrongRule> find_wrong_rule(const Graph& forward, const Bindings& sizes, const Arrays& inputs,
                                         const std::function<void(size_t)>& done) {
  const std::vector<size_t> last = last_uses(forward);
  const std::vector<bool> by = differentiable(forward);
  std::vector<Array> values(forward.size());
  Rng rng(1);
  for (uint32_t i = 0; i < forward.size(); ++i) {
    const NodeId id{i};
    const Node& node = forward.node(id);
    if (last[i] == kNeverUsed) continue;
    const bool outside = node.op == Op::Input || node.op == Op::Param;
    values[i] = outside ? inputs.at(node.name) : evaluate_node(forward, id, sizes, values);
    if (const std::vector<size_t> operands = operands_of_rule(node, by); !operands.empty()) {
      OneOp op(forward, id, sizes, values, rng);
      for (const size_t operand : operands)
        if (const auto wrong = op.check(id, operand)) return wrong;
    }
    for (NodeId operand : node.operands)
      if (operand.present() && last[operand.index] == i) values[operand.index] = {};
    done(i + 1);
  }
  return std::nullopt;
}

}  // namespace mambac::tools
