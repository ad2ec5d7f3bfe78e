// Random graphs, compiled and run, against the float64 evaluator: forward, and with gradients.
#include <gtest/gtest.h>

#include <cstdlib>

#include "ir/print.h"
#include "passes/differentiate.h"
#include "passes/simplify.h"
#include "tests/device_check.h"
#include "tests/random_graph.h"

namespace mambac::test {
namespace {

class RandomGraphs : public testing::TestWithParam<uint64_t> {};

constexpr uint64_t kSeedsPerTest = 10;

Arrays with_seeds(const Graph& graph, const Bindings& bindings, Arrays values) {
  for (const Node& node : graph.nodes())
    if (node.op == Op::Input && !values.count(node.name)) {
      Array ones{shape_of(graph, node.type, bindings), {}};
      ones.data.assign(static_cast<size_t>(elements_of(graph, node.type, bindings)), 0.5);
      values[node.name] = ones;
    }
  return values;
}

TEST_P(RandomGraphs, ForwardAgrees) {
  for (uint64_t k = 0; k < kSeedsPerTest; ++k) {
    const uint64_t seed = GetParam() * kSeedsPerTest + k;
    const RandomGraph random = random_graph(seed, {.nodes = 18, .differentiable = false});
    std::string problem;
    try {
      problem = check_on_cpu(simplify(random.graph), random.bindings, random.values);
    } catch (const Failure& failure) {
      problem = failure.what();
    }
    EXPECT_EQ(problem, "") << "seed " << seed << "\n" << print(random.graph);
  }
}

TEST_P(RandomGraphs, GradientsAgree) {
  for (uint64_t k = 0; k < kSeedsPerTest; ++k) {
    const uint64_t seed = 5000 + GetParam() * kSeedsPerTest + k;
    const RandomGraph random = random_graph(seed, {.nodes = 12});
    std::string problem;
    Graph training;
    try {
      training = simplify(differentiate_with_seeds(random.graph));
      problem = check_on_cpu(training, random.bindings, with_seeds(training, random.bindings, random.values));
    } catch (const Failure& failure) {
      problem = failure.what();
    }
    EXPECT_EQ(problem, "") << "seed " << seed << "\n" << print(random.graph);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomGraphs, testing::Range<uint64_t>(0, 16));

}  // namespace
}  // namespace mambac::test
