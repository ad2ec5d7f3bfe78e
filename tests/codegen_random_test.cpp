// Random graphs, compiled and run, against the float64 evaluator: forward, with gradients, and with bf16 storage.
// MAMBAC_RANDOM_GRAPHS sets how many are drawn for each of the three (110), in tests of ten.
#include <gtest/gtest.h>

#include <cstdlib>

#include "ir/print.h"
#include "passes/differentiate.h"
#include "passes/pipeline.h"
#include "passes/simplify.h"
#include "tests/device_check.h"
#include "tests/random_graph.h"

namespace mambac::test {
namespace {

class RandomGraphs : public testing::TestWithParam<uint64_t> {};

constexpr uint64_t kSeedsPerTest = 10;

uint64_t test_count() {
  const char* text = std::getenv("MAMBAC_RANDOM_GRAPHS");
  return (text ? std::strtoull(text, nullptr, 10) : 110) / kSeedsPerTest;
}

/// Every fourth graph with the kernels that users get.
CheckOptions options_for(uint64_t k) {
  return k % 4 == 0 ? CheckOptions{} : quick_check();
}

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
      problem = check_on_cpu(simplify(random.graph), random.bindings, random.values, options_for(k));
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
      problem = check_on_cpu(training, random.bindings, with_seeds(training, random.bindings, random.values),
                             options_for(k));
    } catch (const Failure& failure) {
      problem = failure.what();
    }
    EXPECT_EQ(problem, "") << "seed " << seed << "\n" << print(random.graph);
  }
}

/// Values between large contractions in bf16, as the evaluator rounds them.
std::string checked_in_bf16(const RandomGraph& random, bool gradients) {
  PipelineOptions options;
  options.kind = gradients ? GraphKind::train : GraphKind::eval;
  options.seeds = gradients;
  options.storage = DType::bf16;
  options.narrow_parameters = !gradients;
  Graph fused = run_pipeline(random.graph, options).graph;
  Arrays values = with_seeds(fused, random.bindings, random.values);
  for (const Node& node : fused.nodes())
    if (node.op == Op::Input || node.op == Op::Param)
      for (double& x : values.at(node.name).data) x = round_to(node.type.dtype, x);
  const Arrays expected = evaluate(fused, random.bindings, values, {.round_storage = true});
  return compare_on_cpu(std::move(fused), random.bindings, values, expected, {.relative = 3e-2, .absolute = 5e-2});
}

TEST_P(RandomGraphs, AgreeInBf16) {
  for (uint64_t k = 0; k < kSeedsPerTest; ++k) {
    const uint64_t seed = 9000 + GetParam() * kSeedsPerTest + k;
    const bool gradients = seed % 2 == 0;
    const RandomGraph random = random_graph(seed, {.nodes = 12, .differentiable = gradients});
    std::string problem;
    try {
      problem = checked_in_bf16(random, gradients);
    } catch (const Failure& failure) {
      problem = failure.what();
    }
    EXPECT_EQ(problem, "") << "seed " << seed << "\n" << print(random.graph);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomGraphs, testing::Range<uint64_t>(0, test_count()));

}  // namespace
}  // namespace mambac::test
