// Recurrences that nobody wrote, below the kernels: gradients, simplification and step forms of strangers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ir/print.h"
#include "ir/verify.h"
#include "passes/differentiate.h"
#include "passes/simplify.h"
#include "passes/widths.h"
#include "tests/mixer.h"
#include "tests/strangers.h"

namespace mambac::test {
namespace {

void expect_sound(const Stranger& s, uint64_t seed) {
  SCOPED_TRACE(s.name + ": " + s.text);
  verify(s.graph);
  Bindings bindings = s.bindings;
  bindings["L"] = std::min<int64_t>(bindings["L"], 40);
  const Graph graph = differentiate_with_seeds(s.graph);
  verify(graph);
  const Graph simple = simplify(graph, {.drop_stops = true});
  verify(simple);
  const Arrays values = draw_values(graph, bindings, s.ranges, seed);
  const Arrays found = evaluate(graph, bindings, values);
  for (const auto& [name, value] : found) {
    for (double x : value.data) ASSERT_LT(std::abs(x), 1e5) << name;
  }
  std::string worst;
  EXPECT_LE(difference(evaluate(simple, bindings, values), found, 1e-8, 1e-8, &worst), 1) << worst;
}

TEST(Strangers, AreSoundAndModerate) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    expect_sound(stranger(seed), seed);
    if (HasFailure()) {
      ADD_FAILURE() << print(stranger(seed).graph);
      return;
    }
  }
}

TEST(Strangers, HandwrittenOnesAreSound) {
  ASSERT_EQ(handwritten_strangers().size(), 13u);
  for (const Stranger& s : handwritten_strangers()) expect_sound(s, 1);
}

TEST(Strangers, GradientsOfHandwrittenOnes) {
  for (Stranger& s : handwritten_strangers()) {
    const Bindings bindings{{"B", 1}, {"L", 4}, {"W", 3}};
    const Graph graph = differentiate(s.graph, "out");
    const Arrays values = draw_values(graph, bindings, s.ranges, 2);
    const Arrays found = evaluate(graph, bindings, values);
    for (const Node& node : s.graph.nodes()) {
      if (node.op != Op::Param) continue;
      const Array expected = finite_differences(s.graph, bindings, values, "out", node.name);
      EXPECT_LE(difference(found.at("grad." + node.param.checkpoint_name), expected, 1e-5, 1e-6), 1)
          << s.name << " " << node.name;
    }
  }
}

/// The complex one against the recurrence that it stands for.
TEST(Strangers, ComplexPairsAreAComplexRecurrence) {
  const Stranger s = handwritten_strangers()[0];
  const Bindings bindings{{"B", 1}, {"L", 12}};
  const Arrays v = draw_values(s.graph, bindings, s.ranges, 3);
  const Array found = evaluate(s.graph, bindings, v).at("out");
  const int64_t D = s.graph.dim(*s.graph.find_dim("D")).size, N = s.graph.dim(*s.graph.find_dim("N")).size;
  auto softplus = [](double x) { return std::log1p(std::exp(x)); };
  for (int64_t d = 0; d < D; ++d) {
    std::vector<double> re(static_cast<size_t>(N)), im(static_cast<size_t>(N));
    for (int64_t t = 0; t < 12; ++t) {
      const auto at = static_cast<size_t>(t * D + d);
      const double dt = softplus(v.at("dt").data[at]);
      double y = 0;
      for (int64_t n = 0; n < N; ++n) {
        const auto dn = static_cast<size_t>(d * N + n), k = static_cast<size_t>(n);
        const double r = std::exp(-dt * softplus(v.at("nu").data[dn])), w = dt * v.at("omega").data[dn];
        const double new_re = r * (std::cos(w) * re[k] - std::sin(w) * im[k]) +
                              v.at("u").data[at] * v.at("b").data[static_cast<size_t>(n * D + d)];
        im[k] = r * (std::sin(w) * re[k] + std::cos(w) * im[k]);
        re[k] = new_re;
        y += v.at("c_re").data[dn] * re[k] - v.at("c_im").data[dn] * im[k];
      }
      EXPECT_NEAR(found.data[at], y, 1e-9);
    }
  }
}

TEST(Strangers, TheRuleCountsFromThePlan) {
  StrangerPlan plan;
  plan.scans.resize(1);
  EXPECT_EQ(most_kernels(plan), 1);
  plan.before = NormKind::rms;
  plan.residual = true;
  EXPECT_EQ(most_kernels(plan), 2);
  plan.projections = true;
  EXPECT_EQ(most_kernels(plan), 3);
  plan.scans.resize(2);
  EXPECT_EQ(most_kernels(plan), 4);
  EXPECT_EQ(fewest_kernels(plan), 3);
  plan.scans[1].reverse = true;
  EXPECT_EQ(fewest_kernels(plan), 4);
}

TEST(Strangers, LargeContractionsAreThoseOfThePlan) {
  int with = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const StrangerPlan plan = draw_plan(seed);
    const Graph graph = make_stranger(plan).graph;
    const Widths widths(graph);
    int large = 0;
    for (uint32_t i = 0; i < graph.size(); ++i) large += widths.large({i});
    int expected = 0;  // the projections of more than 8 terms: E -> D and D -> E
    for (const char* name : {"E", "D"}) {
      const auto dim = graph.find_dim(name);
      if (plan.projections && dim && graph.dim(*dim).size > 8) ++expected;
    }
    EXPECT_EQ(large, expected) << plan.str();
    with += expected == 2;
  }
  EXPECT_GE(with, 30);
}

TEST(Strangers, AreOfEveryKind) {
  int no_states = 0, two = 0, reverse = 0, starts = 0, h0 = 0, last = 0, small = 0, scopes[4] = {};
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const StrangerPlan plan = draw_plan(seed);
    no_states += plan.states == 0;
    two += plan.scans.size() == 2;
    starts += plan.starts;
    small += plan.rank > 0;
    for (const StrangerScan& scan : plan.scans) {
      ++scopes[static_cast<int>(scan.scope)];
      reverse += scan.reverse;
      h0 += scan.start;
      last += scan.last;
    }
  }
  for (int count : {no_states, two, reverse, starts, h0, last, small, scopes[0], scopes[1], scopes[2], scopes[3]})
    EXPECT_GE(count, 100);
}

}  // namespace
}  // namespace mambac::test
