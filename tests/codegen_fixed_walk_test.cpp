// Recurrences along a dimension of fixed size, which is no lane then: compiled and run, against the float64 evaluator.
#include <gtest/gtest.h>

#include <algorithm>

#include "frontend/model.h"
#include "passes/pipeline.h"
#include "tests/device_check.h"

namespace mambac::test {
namespace {

struct Walk {
  const char* name;
  const char* inputs;
  const char* body;
};

void PrintTo(const Walk& walk, std::ostream* out) {
  *out << walk.name;
}

constexpr const char* kDims = "free B, L\ndim D = 8\ndim N = 24\ndim K = 3\ndim S = 3\n";

constexpr const char* kLongDims = "free B, L\ndim D = 150\ndim N = 24\ndim K = 3\ndim S = 3\n";

const Walk kWalks[] = {
    // Nothing but the walked dimension is fixed.
    {"scan", "x: [B, L, D]", "return y = scan<D>(0.9, x)"},
    {"scan_from_the_end", "x: [B, L, D], a: [B, L, D]", "return y = scan<D, reverse>(sigmoid(a), x)"},
    {"delay", "x: [B, L, D]", "return y = delay<D>(x)"},
    {"delay_from_the_end", "x: [B, L, D]", "return y = delay<D, reverse>(x)"},
    {"window", "x: [B, L, D], c: [K]", "return y = dot<K>(window<D, K>(x), c)"},
    {"packed", "x: [B, L, D], start: [L, K], cut: [B, D], c: [K]",
     "return y = dot<K>(window<D, K>(scan<D>(0.9, x, starts = cut), start = start, starts = cut), c)"},
    // Channels beside it.
    {"sum_over_lanes", "x: [B, L, D], z: [B, L, N]", "return y = sum<D>(scan<N>(0.9, x * z))"},
    {"sum_over_the_walk", "x: [B, L, D], c: [D, N]", "return y = sum<D>(scan<D>(0.9, x * c))"},
    {"channels", "x: [B, L, D], c: [D, N]", "return y = scan<D>(0.9, x * c)"},
    {"channels_read_out", "x: [B, L, D], c: [D, N]", "return y = sum<N>(scan<D>(0.9, x * c))"},
    {"inner_loop", "x: [B, L, D], a: [B, L, D], c: [D, N, S]",
     "h = scan<D>(sigmoid(a), x * c)\nreturn y = sum<S>(h * c)"},
    {"indices", "x: [B, L, D], c: [D, N]",
     "h = scan<D>(0.9, x * c)\ng = scan<D, reverse>(0.9, x * c)\n"
     "return y = at<D, 0>(h), y3 = at<D, 3>(h), y7 = at<D, 7>(h), y6 = at<D, -2>(h), g7 = at<D, -1>(g), g0 = at<D, "
     "-8>(g)"},
    // Two walks.
    {"planes", "x: [B, L, D], c: [D, N]",
     "h = scan<D>(0.9, x * c)\nz = scan<L>(0.5, sum<N>(h * c))\nreturn y = x * scan<D, reverse>(0.7, z)"},
    {"parameters_alone", "c: [D, N], x: [B, L, D]", "return y = dot<D>(x, scan<N>(0.5, delay<D>(c)))"},
};

const Walk& walk_named(std::string_view name) {
  return *std::find_if(std::begin(kWalks), std::end(kWalks), [&](const Walk& walk) { return walk.name == name; });
}

Graph model_of(const Walk& walk, const std::string& dims = kDims) {
  const std::string text = dims + "model m(" + walk.inputs + ") {\n" + walk.body + "\n}\n";
  return instantiate(model_from_text(text, walk.name, ""));
}

/// The outputs of the graph, the gradients by all inputs, or one step of L in few kernels.
std::string checked(const Graph& source, GraphKind kind) {
  PipelineOptions options;
  options.kind = kind;
  options.seeds = kind == GraphKind::train;
  options.fuse.few_kernels = kind == GraphKind::step;
  options.fuse.library_contractions = kind != GraphKind::step;
  const std::string_view reference = kind == GraphKind::train ? "differentiate" : "precision";
  const Bindings bindings{{"B", 2}, {"L", 5}};
  Arrays values, expected;
  try {
    PipelineResult result = run_pipeline(source, options, [&](std::string_view stage, const Graph& graph) {
      if (stage != reference) return;
      values = draw_values(graph, bindings, {{"cut", {Range::mask, 0, 0.3}}}, 5);
      expected = evaluate(graph, bindings, values);
    });
    return compare_on_cpu(std::move(result.graph), bindings, values, expected);
  } catch (const Failure& failure) {
    return failure.what();
  }
}

class FixedWalks : public testing::TestWithParam<Walk> {};

TEST_P(FixedWalks, ForwardAgrees) {
  EXPECT_EQ(checked(model_of(GetParam()), GraphKind::eval), "");
}
TEST_P(FixedWalks, GradientsAgree) {
  EXPECT_EQ(checked(model_of(GetParam()), GraphKind::train), "");
}

/// So long that states are stored for the way back.
TEST(LongFixedWalks, GradientsAgree) {
  for (const char* name : {"window", "inner_loop"})
    EXPECT_EQ(checked(model_of(walk_named(name), kLongDims), GraphKind::train), "") << name;
}

/// Those along L become one step; the others stay as they are.
TEST(StepsOfFixedWalks, Agree) {
  for (const char* name : {"planes", "inner_loop"})
    EXPECT_EQ(checked(model_of(walk_named(name)), GraphKind::step), "") << name;
}

INSTANTIATE_TEST_SUITE_P(Models, FixedWalks, testing::ValuesIn(kWalks),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace mambac::test
