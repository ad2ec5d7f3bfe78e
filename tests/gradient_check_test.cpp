// The check of gradient rules against differences: right rules are found right, wherever differences say little, and
// wrong ones wrong.
#include "tools/gradient_check.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "frontend/model.h"
#include "ir/gradient.h"
#include "passes/simplify.h"
#include "tools/compile.h"
#include "tools/random_inputs.h"

namespace mambac::test {
namespace {

/// What is found of a model of x: [B, L, D] with these statements, on random numbers; "": nothing.
std::string wrong_rule(const std::string& statements, uint64_t seed, int64_t length = 5) {
  const Model model = model_from_text(
      "free B, L\nmodel m<D = 4, K = 2>(x: [B, L, D]) {\n param w: [D] = ones\n " + statements + "\n}", "m.mb");
  const Graph forward = simplify(tools::source_graph(model, GraphKind::train));
  const Bindings sizes{{"B", 2}, {"L", length}};
  const Arrays inputs = tools::random_inputs(forward, sizes, {"", seed});
  const auto wrong = tools::find_wrong_rule(forward, sizes, inputs, [](size_t) {});
  if (!wrong) return "";
  const Node& node = forward.node(wrong->node);
  return fmt::format("{} by {}: {} and {}", name_of(node.op), forward.node(node.operands[wrong->operand]).name,
                     wrong->rule, wrong->difference);
}

const std::vector<std::string> kModels = {
    "return y = rms_norm<D, 1e-7>(x)",
    "return y = rms_norm<D, 1e-12>(x * w)",
    "param none: [D] = zeros  return y = tanh(40 * x) * sigmoid(30 + x) + none",
    "param large: [D] = constant(1e9)  return y = x * 1e-6 + large",
    "param none: [D] = zeros  return y = sqrt(none) + log(exp(900 * w)) + x",
    "return y = min(sum<K>(window<L, K>(x)), x * w)",
    "return y = max(at<K, 0>(window<L, K>(x)), x * w)",
    "return y = amax<D>(x) - abs(x * w - x)",
    "return y = scan<L>(1e-12 * sigmoid(x) * w, x)",
    "return y = scan<L>(exp(-300 * w), x)",
    "return y = scan<L>(0.9 * w, x) / (1e-9 + softplus(x * w))",
    "return y = sin(1e9 * x * w) + cos(1e9 + w)",
    "return y = sin(1000 * x * w) + cos(x) * rsqrt(1e-5 + x * x)",
};

TEST(GradientCheck, RightRulesAreRight) {
  for (const std::string& model : kModels)
    for (uint64_t seed = 0; seed < 20; ++seed)
      for (const int64_t length : {1, 2, 5}) EXPECT_EQ(wrong_rule(model, seed, length), "") << model << seed;
}

/// While it lives, the rule of an op is wrong.
class Planted {
 public:
  Planted(Op op, const std::function<void(Builder&, std::vector<NodeId>&)>& change) {
    gradient_hook() = [op, change](Builder& b, const Node& node, std::vector<NodeId>& to) {
      if (node.op == op) change(b, to);
    };
  }
  ~Planted() { gradient_hook() = {}; }
  Planted(const Planted&) = delete;
  Planted& operator=(const Planted&) = delete;
};

struct Mutation {
  Op op;
  std::string model;
};

TEST(GradientCheck, FindsARuleThatIsALittleTooLarge) {
  for (const Mutation& mutation :
       {Mutation{Op::Mul, "return y = x * w"}, Mutation{Op::Add, "return y = rms_norm<D, 1e-7>(x)"},
        Mutation{Op::Tanh, "return y = tanh(10 * x * w)"}, Mutation{Op::Sigmoid, "return y = sigmoid(5 + x * w)"},
        Mutation{Op::Scan, "return y = scan<L>(1e-3 * sigmoid(x) * w, x)"},
        Mutation{Op::Max, "return y = max(at<K, 0>(window<L, K>(x)), x * w)"},
        Mutation{Op::Min, "return y = min(sum<K>(window<L, K>(x)), x * w)"},
        Mutation{Op::Amax, "return y = amax<D>(x * w)"}, Mutation{Op::Abs, "return y = abs(x * w)"},
        Mutation{Op::Sqrt, "param none: [D] = zeros  return y = sqrt(none) + x"},
        Mutation{Op::Sin, "return y = sin(x * w)"}, Mutation{Op::Dot, "return y = dot<D>(x, w)"}}) {
    const Planted planted(mutation.op,
                          [](Builder& b, std::vector<NodeId>& to) { to[0] = b.Mul(to[0], b.constant(1.001)); });
    for (uint64_t seed = 0; seed < 5; ++seed)
      EXPECT_TRUE(wrong_rule(mutation.model, seed).starts_with(name_of(mutation.op))) << mutation.model << seed;
  }
}

TEST(GradientCheck, FindsGradientsOfTheWrongOperand) {
  for (const Mutation& mutation :
       {Mutation{Op::Sub, "return y = x * w - exp(x)"}, Mutation{Op::Min, "return y = min(x * w, exp(x) - 1)"},
        Mutation{Op::Max, "return y = max(x * w, -x)"}, Mutation{Op::Mul, "return y = x * w"}}) {
    const Planted planted(mutation.op, [](Builder&, std::vector<NodeId>& to) { std::swap(to[0], to[1]); });
    EXPECT_TRUE(wrong_rule(mutation.model, 1).starts_with(name_of(mutation.op))) << mutation.model;
  }
}

/// Where an op is flat, differences are 0, and a slope of the size of their rounding is found.
TEST(GradientCheck, FindsASlopeWhereThereIsNone) {
  const Planted planted(Op::Tanh, [](Builder& b, std::vector<NodeId>& to) { to[0] = b.Add(to[0], b.constant(1e-6)); });
  EXPECT_TRUE(wrong_rule("return y = tanh(1000 + x * w)", 1).starts_with("tanh"));
}

}  // namespace
}  // namespace mambac::test
