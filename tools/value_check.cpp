#include "tools/value_check.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "passes/rewrite.h"
#include "runtime/rng.h"
#include "tools/rounding.h"

namespace mambac::tools {
namespace {

constexpr int kTrials = 2;  // elements of a value move each by itself in one, and all alike in the other
constexpr double kSpread = 4;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// One evaluation of the graph, of which there are several side by side.
struct Evaluation {
  std::vector<Array> values;
  /// Kernels read their own narrow values as they were before they were rounded.
  std::map<uint32_t, Array> unrounded;
};

class Check {
 public:
  Check(const Graph& graph, const Bindings& sizes, const Arrays& inputs, const FoundValues& found)
      : graph_(graph), sizes_(sizes), inputs_(inputs), found_(found), last_(last_uses(graph)), users_(users_of(graph)) {
    each([&](Evaluation& e) { e.values.resize(graph.size()); });
  }

  std::vector<ValueError> run(const std::function<void(size_t)>& done) {
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      if (last_[i] == kNeverUsed && !found_.contains(NodeId{i})) continue;
      visit(NodeId{i});
      forget_operands(i);
      done(i + 1);
    }
    return std::move(errors_);
  }

 private:
  template <typename Body>
  void each(const Body& body) {
    body(exact_);
    body(from_inputs_);
    for (Evaluation& trial : trials_) body(trial);
  }

  void visit(NodeId id) {
    const Node& node = graph_.node(id);
    if (class_of(node.op) == OpClass::Source) return visit_source(id);
    const Array exact = value_of(exact_, id);
    std::vector<double> bounds;
    with_unrounded(exact_, node, [&] { bounds = rounding_bounds(graph_, id, sizes_, exact_.values, exact); });
    std::vector<double> spread(exact.data.size(), 0);
    std::array<Array, kTrials> moved;
    for (size_t t = 0; t < kTrials; ++t) {
      moved[t] = value_of(trials_[t], id);
      for (size_t i = 0; i < spread.size(); ++i)
        if (const double by = std::abs(moved[t].data[i] - exact.data[i]); std::isfinite(by))
          spread[i] = std::max(spread[i], by);
    }
    from_inputs_.values[id.index] = value_of(from_inputs_, id);
    const auto found = found_.find(id);
    if (found != found_.end()) compare(id, found->second, exact, bounds, spread);
    const bool narrow = is_float(node.type.dtype) && node.type.dtype != DType::f32 && is_read_within(id);
    settle(exact_, id, exact, found, narrow);
    for (size_t t = 0; t < kTrials; ++t) {
      if (found != found_.end() && !narrow) moved[t] = found->second;
      if (found == found_.end() || is_read_within(id)) move(moved[t], bounds, t == 0);
      settle(trials_[t], id, moved[t], narrow ? found : found_.end(), narrow);
    }
  }

  /// Numbers of the graph are f32 on every device.
  void visit_source(NodeId id) {
    const Node& node = graph_.node(id);
    const bool outside = node.op == Op::Input || node.op == Op::Param;
    each([&](Evaluation& e) {
      Array& value = e.values[id.index];
      value = outside ? inputs_.at(node.name) : evaluate_node(graph_, id, sizes_, e.values);
      for (double& x : value.data) x = round_to(node.type.dtype, x);
    });
  }

  /// What later nodes read: what was found, where it was.
  void settle(Evaluation& e, NodeId id, const Array& value, FoundValues::const_iterator found, bool narrow) {
    if (narrow) e.unrounded[id.index] = value;
    e.values[id.index] = found != found_.end() ? found->second : value;
  }

  Array value_of(Evaluation& e, NodeId id) {
    Array value;
    with_unrounded(e, graph_.node(id), [&] { value = evaluate_node(graph_, id, sizes_, e.values); });
    return value;
  }

  /// Runs `body` while the operands that the node's own kernel computes are as that has them.
  template <typename Body>
  void with_unrounded(Evaluation& e, const Node& node, const Body& body) {
    const auto exchange = [&] {
      for (auto& [index, value] : e.unrounded)
        if (node.kernel >= 0 && graph_.node(NodeId{index}).kernel == node.kernel &&
            std::ranges::count(node.operands, NodeId{index}) > 0)
          std::swap(e.values[index], value);
    };
    exchange();
    body();
    exchange();
  }

  bool is_read_within(NodeId id) const {
    const int kernel = graph_.node(id).kernel;
    return kernel >= 0 &&
           std::ranges::any_of(users_[id.index], [&](NodeId user) { return graph_.node(user).kernel == kernel; });
  }

  /// Decays that vary little are all rounded up or all down, which a scan adds up.
  void move(Array& value, const std::vector<double>& bounds, bool alike) {
    const double all = rng_.uniform() < 0.5 ? -1 : 1;
    for (size_t i = 0; i < bounds.size(); ++i) value.data[i] += bounds[i] * (alike ? all : 2 * rng_.uniform() - 1);
  }

  void compare(NodeId id, const Array& found, const Array& exact, const std::vector<double>& rounding,
               const std::vector<double>& spread) {
    ValueError worst{id};
    worst.of_bound = -1;
    const double mean_spread = root_mean_square(spread);
    for (size_t i = 0; i < exact.data.size(); ++i) {
      const double expected = exact.data[i];
      const double bound =
          rounding[i] + storing_bound(graph_.node(id).type.dtype, expected) + kSpread * (spread[i] + mean_spread);
      const double error = difference(found.data[i], round_if_infinite(expected));
      const double of_bound = error == 0 ? 0 : std::isfinite(error) && std::isfinite(bound) ? error / bound : kInfinity;
      if (of_bound > worst.of_bound) worst = {id, i, found.data[i], expected, bound, of_bound, 0};
    }
    const std::vector<double>& plain = from_inputs_.values[id.index].data;
    const double size = root_mean_square(plain);
    for (size_t i = 0; i < plain.size(); ++i)
      if (const double by = difference(found.data[i], round_if_infinite(plain[i])); by > 0)
        worst.since_inputs = std::max(worst.since_inputs, by / size);
    errors_.push_back(worst);
  }

  /// What is too large for f32 is infinite on every device.
  static double round_if_infinite(double x) {
    const double rounded = round_to(DType::f32, x);
    return std::isfinite(rounded) ? x : rounded;
  }

  void forget_operands(uint32_t reader) {
    for (NodeId operand : graph_.node(NodeId{reader}).operands)
      if (operand.present() && last_[operand.index] == reader)
        each([&](Evaluation& e) {
          e.values[operand.index] = {};
          e.unrounded.erase(operand.index);
        });
  }

  const Graph& graph_;
  const Bindings& sizes_;
  const Arrays& inputs_;
  const FoundValues& found_;
  const std::vector<size_t> last_;
  const std::vector<std::vector<NodeId>> users_;
  Evaluation exact_, from_inputs_;
  std::array<Evaluation, kTrials> trials_;
  Rng rng_{1};
  std::vector<ValueError> errors_;
};

}  // namespace

double root_mean_square(const std::vector<double>& values) {
  double squares = 0;
  for (double x : values) squares += std::isfinite(x) ? x * x : 0;
  return std::sqrt(squares / static_cast<double>(std::max<size_t>(values.size(), 1)));
}

double difference(double a, double b) {
  if (a == b || (std::isnan(a) && std::isnan(b))) return 0;
  return std::isfinite(a) && std::isfinite(b) ? std::abs(a - b) : kInfinity;
}

std::vector<ValueError> check_values(const Graph& graph, const Bindings& sizes, const Arrays& inputs,
                                     const FoundValues& found, const std::function<void(size_t)>& done) {
  return Check(graph, sizes, inputs, found).run(done);
}

}  // namespace mambac::tools
