#include "tools/gradient_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "passes/differentiate.h"
#include "passes/rewrite.h"
#include "runtime/rng.h"
#include "tools/value_check.h"

namespace mambac::tools {
namespace {

constexpr double kStep = 1e-5;  // of the size of an operand
constexpr double kKink = 1e-2;  // a second difference of so much of the first one

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
    operands_ = node.operands.size();
    graph_.outputs().push_back({"y", graph_.append(std::move(node))});
  }

  /// The first operand by which the rule is wrong.
  std::optional<WrongRule> check(NodeId id) {
    for (size_t k = 0; k < operands_; ++k) {
      if (!x_.contains(name(k)) || !is_float(graph_.node(*graph_.find(name(k))).type.dtype)) continue;
      if (const std::optional<WrongRule> wrong = check(id, k)) return wrong;
    }
    return std::nullopt;
  }

 private:
  static std::string name(size_t operand) { return fmt::format("x{}", operand); }

  /// Moves every element a little, away from 0.
  void avoid_ties(Array& array) {
    const double size = 1e-3 * root_mean_square(array.data);
    for (double& x : array.data) x += (x < 0 ? -size : size) * (0.5 + rng_.uniform());
  }

  std::optional<WrongRule> check(NodeId id, size_t operand) {
    Array direction = x_.at(name(operand));
    const double size = root_mean_square(direction.data);
    for (double& v : direction.data) v = (std::abs(v) + 0.1 * size) * (2 * rng_.uniform() - 1);
    const Array above = moved(operand, direction, kStep), here = moved(operand, direction, 0),
                below = moved(operand, direction, -kStep);
    Array seed = here;
    double difference = 0, terms = 0;
    for (size_t i = 0; i < seed.data.size(); ++i) {
      const double first = above.data[i] - below.data[i];
      const double second = above.data[i] - 2 * here.data[i] + below.data[i];
      const bool smooth = std::isfinite(first) && std::abs(second) <= kKink * std::abs(first);
      seed.data[i] = smooth ? rng_.uniform() + 0.5 : 0;
      if (smooth) difference += seed.data[i] * first / (2 * kStep);
      if (smooth) terms += std::abs(seed.data[i] * first / (2 * kStep));
    }
    Arrays values = x_;
    values["seed.y"] = std::move(seed);
    values["direction"] = std::move(direction);
    const Arrays along = evaluate(gradient_along(operand), sizes_, values);
    const double rule = along.at("sum").data[0];
    terms += along.at("terms").data[0];
    if (std::abs(rule - difference) <= kGradientTolerance * terms) return std::nullopt;
    return WrongRule{id, operand, rule, difference};
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
  size_t operands_ = 0;
};

/// Whether gradients flow through the node, to operands of float type.
bool has_rule(const Graph& graph, const Node& node) {
  const OpInfo& op = info(node.op);
  return !op.gradient_missing && !op.gradient_none && class_of(node.op) != OpClass::Source &&
         is_float(node.type.dtype) && std::ranges::any_of(node.operands, [&](NodeId o) {
           return o.present() && is_float(graph.node(o).type.dtype);
         });
}

}  // namespace

std::optional<WrongRule> find_wrong_rule(const Graph& forward, const Bindings& sizes, const Arrays& inputs,
                                         const std::function<void(size_t)>& done) {
  const std::vector<size_t> last = last_uses(forward);
  std::vector<Array> values(forward.size());
  Rng rng(1);
  for (uint32_t i = 0; i < forward.size(); ++i) {
    const NodeId id{i};
    const Node& node = forward.node(id);
    if (last[i] == kNeverUsed) continue;
    const bool outside = node.op == Op::Input || node.op == Op::Param;
    values[i] = outside ? inputs.at(node.name) : evaluate_node(forward, id, sizes, values);
    if (has_rule(forward, node))
      if (const auto wrong = OneOp(forward, id, sizes, values, rng).check(id)) return wrong;
    for (NodeId operand : node.operands)
      if (operand.present() && last[operand.index] == i) values[operand.index] = {};
    done(i + 1);
  }
  return std::nullopt;
}

}  // namespace mambac::tools
