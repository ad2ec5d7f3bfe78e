// Definitions with what graphs rarely have, compiled and run, forward and backward, against the float64 evaluator.
#include <gtest/gtest.h>

#include "frontend/model.h"
#include "passes/pipeline.h"
#include "tests/device_check.h"
#include "tests/random_values.h"

namespace mambac::test {
namespace {

/// What differs, or "". `backward`: with gradients by all inputs and parameters.
std::string checked(const std::string& body, bool backward) {
  const std::string text = "free B, L\nmodel m<D = 5, K = 3>(x: [B, L, D], s: [B, L]) {\n" + body + "\n}\n";
  const Bindings sizes{{"B", 2}, {"L", 37}};
  PipelineOptions options;
  options.kind = backward ? GraphKind::train : GraphKind::eval;
  options.seeds = backward;
  Arrays values, expected;
  try {
    PipelineResult result = run_pipeline(instantiate(model_from_text(text, "test")), options,
                                         [&](std::string_view stage, const Graph& graph) {
                                           if (stage != (backward ? "differentiate" : "source")) return;
                                           values = draw_values(graph, sizes, {}, 7);
                                           expected = evaluate(graph, sizes, values);
                                         });
    return compare_on_cpu(std::move(result.graph), sizes, values, expected, {});
  } catch (const Failure& failure) {
    return failure.what();
  }
}

void expect_right(const std::string& body) {
  for (const bool backward : {false, true}) EXPECT_EQ(checked(body, backward), "") << (backward ? "backward" : "forward");
}

/// A walk comes to the flags of neighbouring steps, so they are computed before it.
TEST(Definitions, StartsMayBeComputed) {
  expect_right("return y = scan<L>(0.5, x, starts = lt(s, 0))");
  expect_right("return y = scan<L, reverse>(sigmoid(x), x, starts = lt(s, 0))");
  expect_right("st = lt(s, 0)\nreturn y = delay<L>(x * s, starts = st), w = sum<K>(window<L, K>(x, starts = st)) * st");
  expect_right("h = scan<L>(0.5, s)\nreturn y = scan<L>(0.5, x, starts = lt(h, -0.5)), h");
}

/// Where a window of what one recurrence makes is read by another that goes its way, no kernel walks it whole.
TEST(Definitions, AWindowMayBeReadAgainstItsWay) {
  expect_right("h = scan<L, reverse>(0.5, x)\nw = window<L, K>(h)\nreturn y = delay<L, reverse>(w), w");
}

/// A recurrence that restarts at tiles reads no start, which may be there only after what reads the recurrence.
TEST(Definitions, AStartMayBeComputed) {
  const std::string scan = "h = scan<L, reverse>(exp(-abs(p)), tanh(delay<L>(x)), start = ";
  expect_right("param p: [K] = normal(0, 1)\n" + scan + "cos(p))\nreturn y = dot<K>(p, h)");
  expect_right("param p: [K] = normal(0, 1)\nparam q: [K] = normal(0, 1)\n" + scan +
               "q / (1 + abs(q)))\nreturn y = amax<D>(dot<K>(p, h))");
}

/// Wherever fusion has it read.
TEST(Definitions, WholeNumbersAreWholeEverywhere) {
  expect_right(
      "c = cast<u8>(x * 4)\nreturn y = c, z = c + 0, w = scan<L>(0.5, c), e = eq(c, 1) * x, k = dot<D>(c, x) + s");
}

}  // namespace
}  // namespace mambac::test
