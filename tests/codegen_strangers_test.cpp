// Strangers compiled and run, forward and backward, against the float64 evaluator.
//
// MAMBAC_STRANGERS sets how many are drawn (1,000).
#include <gtest/gtest.h>

#include <cstdlib>

#include "passes/pipeline.h"
#include "tests/device_check.h"
#include "tests/strangers.h"

namespace mambac::test {
namespace {

constexpr uint64_t kShards = 50;

uint64_t stranger_count() {
  const char* text = std::getenv("MAMBAC_STRANGERS");
  return text ? std::strtoull(text, nullptr, 10) : 1000;
}

std::string checked(const Stranger& s, bool backward, DType storage = DType::f32, CheckOptions check = {}) {
  PipelineOptions options;
  options.storage = storage;
  options.kind = backward ? GraphKind::train : GraphKind::eval;
  options.seeds = backward;
  Arrays values, expected;
  try {
    PipelineResult result = run_pipeline(s.graph, options, [&](std::string_view stage, const Graph& graph) {
      if (stage != (backward ? "differentiate" : "source")) return;
      values = draw_values(graph, s.bindings, s.ranges, 31);
      expected = evaluate(graph, s.bindings, values);
    });
    check.bounds = s.bindings.at("B") * s.bindings.at("L") < 40;
    if (storage == DType::bf16) check.relative = 3e-2, check.absolute = 5e-2;
    return compare_on_cpu(std::move(result.graph), s.bindings, values, expected, check);
  } catch (const Failure& failure) {
    return failure.what();
  }
}

void expect_agrees(const Stranger& s, const CheckOptions& options = {}) {
  for (bool backward : {false, true})
    EXPECT_EQ(checked(s, backward, DType::f32, options), "")
        << s.name << (backward ? " backward: " : " forward: ") << s.text;
}

class StrangersOnCpu : public testing::TestWithParam<uint64_t> {};

TEST_P(StrangersOnCpu, AgreeForwardAndBackward) {
  const uint64_t count = stranger_count();
  // One of each shard with the kernels that users get; all of them with MAMBAC_STRANGERS_WHOLE.
  const bool whole = std::getenv("MAMBAC_STRANGERS_WHOLE") != nullptr;
  for (uint64_t seed = GetParam(); seed < count; seed += kShards)
    expect_agrees(stranger(seed), whole || seed == GetParam() ? CheckOptions{} : quick_check());
}

INSTANTIATE_TEST_SUITE_P(Shards, StrangersOnCpu, testing::Range<uint64_t>(0, kShards));

TEST(HandwrittenStrangersOnCpu, AgreeForwardAndBackward) {
  for (const Stranger& s : handwritten_strangers()) expect_agrees(s);
}

TEST(HandwrittenStrangersOnCpu, AgreeWithNarrowStorage) {
  for (const Stranger& s : handwritten_strangers())
    for (bool backward : {false, true})
      EXPECT_EQ(checked(s, backward, DType::bf16), "") << s.name << (backward ? " backward" : " forward");
}

}  // namespace
}  // namespace mambac::test
