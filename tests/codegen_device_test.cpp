// Compiled kernels against the float64 evaluator: a whole Mamba layer and its gradients at shapes that are not round.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ir/builder.h"
#include "passes/differentiate.h"
#include "passes/plan.h"
#include "passes/simplify.h"
#include "tests/device_check.h"
#include "tests/mixer.h"

namespace mambac::test {
namespace {

struct Shape {
  int64_t batch, length, channels, states;
};

class MixerOnCpu : public testing::TestWithParam<std::tuple<Shape, bool>> {};

TEST_P(MixerOnCpu, ForwardAgrees) {
  const auto [shape, starts] = GetParam();
  MixerOptions options;
  options.channels = shape.channels;
  options.states = shape.states;
  options.starts = starts;
  const Mixer mixer = make_mixer(options);
  const Bindings bindings{{"B", shape.batch}, {"L", shape.length}};
  const Arrays values = draw_values(mixer.graph, bindings, mixer.ranges, 7);
  EXPECT_EQ(check_on_cpu(simplify(mixer.graph), bindings, values, {.bounds = shape.length < 100}), "");
}

TEST_P(MixerOnCpu, GradientsAgree) {
  const auto [shape, starts] = GetParam();
  MixerOptions options;
  options.channels = shape.channels;
  options.states = shape.states;
  options.starts = starts;
  options.loss = true;
  const Mixer mixer = make_mixer(options);
  const Bindings bindings{{"B", shape.batch}, {"L", shape.length}};
  const Arrays values = draw_values(mixer.graph, bindings, mixer.ranges, 11);
  const Graph training = simplify(differentiate(simplify(mixer.graph), "loss"));
  EXPECT_EQ(check_on_cpu(training, bindings, values, {.bounds = shape.length < 100}), "");
}

INSTANTIATE_TEST_SUITE_P(Shapes, MixerOnCpu,
                         testing::Combine(testing::Values(Shape{1, 1, 1, 1}, Shape{2, 7, 17, 5}, Shape{3, 65, 8, 3},
                                                          Shape{1, 513, 48, 16}, Shape{2, 130, 200, 4}),
                                          testing::Bool()));

// ---- one step ------------------------------------------------------------------------------------------------------

class OneStep : public testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t, DType>> {};

/// A product of a matrix with few vectors, added to what was there, beside the sum of squares that a norm wants.
TEST_P(OneStep, MatrixVectorProductsAgree) {
  const auto [batch, rows, lanes, storage] = GetParam();
  Graph graph;
  Builder build(graph);
  const DimId b = graph.add_dim("B", 0), d = graph.add_dim("D", rows), e = graph.add_dim("E", lanes);
  const NodeId x = build.input("x", {storage, {b, e}}), before = build.input("before", {storage, {b, d}});
  const NodeId w = build.input("w", {storage, {d, e}});
  const NodeId product = build.op(Op::Dot, {x, w}, {.dims = {e}, .dtype = DType::f32});
  const NodeId after = build.Add(build.cast(before, DType::f32), product);
  graph.outputs() = {{"after", after}, {"squares", build.sum(build.Mul(after, after), {d})}};
  Arrays values = draw_values(graph, {{"B", batch}}, {}, 3);
  for (auto& [name, array] : values)
    for (double& value : array.data) value = round_to(storage, value);
  EXPECT_EQ(check_on_cpu(graph, {{"B", batch}}, values, {.fuse = {.library_contractions = false}}), "");
}

INSTANTIATE_TEST_SUITE_P(Shapes, OneStep,
                         testing::Combine(testing::Values(1, 3), testing::Values(6, 40, 96),
                                          testing::Values(48, 64, 100, 160), testing::Values(DType::f32, DType::bf16)));

class States : public testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t, DType>> {};

/// States lie as [channels, states]; the channels are the lanes.
TEST_P(States, UpdatesAgree) {
  const auto [batch, channels, states, storage] = GetParam();
  Graph graph;
  Builder build(graph);
  const DimId b = graph.add_dim("B", 0), d = graph.add_dim("D", channels), n = graph.add_dim("N", states);
  const NodeId h = build.input("h", {DType::f32, {b, d, n}}), rate = build.input("rate", {storage, {d, n}});
  const NodeId dt = build.input("dt", {DType::f32, {b, d}}), gain = build.input("gain", {DType::f32, {b, n}});
  const NodeId rates = storage == DType::f32 ? rate : build.cast(rate, DType::f32);
  const NodeId next = build.Add(build.Mul(h, build.Exp(build.Mul(dt, rates))), build.Mul(dt, gain));
  graph.outputs() = {{"next", next}, {"read", build.sum(build.Mul(next, gain), {n})}};
  Arrays values = draw_values(graph, {{"B", batch}}, {}, 4);
  for (double& value : values.at("rate").data) value = round_to(storage, value);
  EXPECT_EQ(check_on_cpu(graph, {{"B", batch}}, values), "");
}

INSTANTIATE_TEST_SUITE_P(Shapes, States,
                         testing::Combine(testing::Values(1, 3), testing::Values(20, 64),
                                          testing::Values(2, 3, 4, 16, 32), testing::Values(DType::f32, DType::bf16)));

// ---- one row, which tasks share ------------------------------------------------------------------------------------

class OneRow : public testing::TestWithParam<int64_t> {};

/// Its values, with numbers that all share, and sums of them, as an optimiser has them.
TEST_P(OneRow, ValuesAndSumsAgree) {
  Graph graph;
  Builder b(graph);
  const DimId P = graph.add_dim("P", GetParam());
  const NodeId x = b.input("x", {DType::f32, {P}}), a = b.input("a", {DType::f32, {}});
  const NodeId y = b.Add(b.Mul(x, b.Exp(a)), a);
  graph.outputs() = {{"y", y},
                     {"squares", b.op(Op::Sum, {b.Mul(y, x)}, {.dims = {P}})},
                     {"most", b.op(Op::Amax, {y}, {.dims = {P}})}};
  EXPECT_EQ(check_on_cpu(graph, {}, draw_values(graph, {}, {}, 3)), "");
}

// Whole vectors of 16 bytes for each lane of a GPU, whole but not of these, and with a short last one.
INSTANTIATE_TEST_SUITE_P(Sizes, OneRow, testing::Values(32768, 32768 + 512, 20000, 16391));

/// Positions that f32 cannot tell apart: 2^24 and the one after it.
TEST(LongRows, TheLastElementCounts) {
  Graph graph;
  Builder b(graph);
  constexpr int64_t kSize = (int64_t{1} << 24) + 1;
  const DimId P = graph.add_dim("P", kSize);
  const NodeId x = b.input("x", {DType::f32, {P}});
  const NodeId total = b.sum(x, {P});
  graph.outputs().push_back({"sum", total});
  graph.outputs().push_back({"last", b.put(total, P, -1)});
  Remarks remarks;
  const Program program(fuse(graph, {}, remarks));
  const auto executable = program.instantiate({});
  std::vector<float> xs(kSize), last(kSize, NAN);
  float sum = NAN;
  xs.back() = 1;
  executable->bind("x", xs.data());
  executable->bind("sum", &sum);
  executable->bind("last", last.data());
  executable->run();
  EXPECT_EQ(sum, 1);
  EXPECT_EQ(std::count(last.begin(), last.end(), 0.0F), kSize - 1);
  EXPECT_EQ(last.back(), 1);
}

/// What only parameters go into is computed once, until one is bound again: `scale` is changed behind the back of the
/// executable to see it.
TEST(ConstantParameters, WhatIsMadeOfThemAloneIsComputedOnce) {
  Graph graph;
  Builder b(graph);
  const DimId L = graph.add_dim("L", 0), D = graph.add_dim("D", 40), N = graph.add_dim("N", 300);
  const NodeId x = b.input("x", {DType::f32, {L, D}});
  const NodeId w = b.param("w", {DType::f32, {D, N}}, {"w", {Initialiser::normal, 0, 1}, true});
  const NodeId scale = b.sum(w, {N});  // of all rows of w: complete before a row of x begins
  graph.outputs().push_back({"y", b.Mul(x, scale)});
  Remarks remarks;
  const Program program(fuse(graph, {}, remarks));
  const std::vector<bool> constant = constant_kernels(program.graph());
  ASSERT_EQ(std::count(constant.begin(), constant.end(), true), 1);
  ExecutableOptions options;
  options.constant_parameters = true;
  const auto executable = program.instantiate({{"L", 3}}, options);

  std::vector<float> xs(3 * 40, 2.0F), ws(40 * 300, 1.0F), y(3 * 40);
  executable->bind("x", xs.data());
  executable->bind("y", y.data());
  const auto expect_everywhere = [&](float wanted) {
    std::fill(y.begin(), y.end(), NAN);
    executable->run();
    EXPECT_EQ(y, std::vector<float>(y.size(), wanted));
  };
  executable->bind("w", ws.data());
  expect_everywhere(600);
  expect_everywhere(600);
  std::fill(ws.begin(), ws.end(), 3.0F);
  expect_everywhere(600);
  executable->bind("x", xs.data());
  expect_everywhere(600);
  executable->bind("w", ws.data());
  expect_everywhere(1800);
}

/// Products keep packed copies of constant parameters until they are bound again.
TEST(ConstantParameters, ArePackedAgainWhenBound) {
  Graph graph;
  Builder b(graph);
  const DimId L = graph.add_dim("L", 0), E = graph.add_dim("E", 64), D = graph.add_dim("D", 96);
  const NodeId x = b.input("x", {DType::f32, {L, E}});
  const NodeId w = b.param("w", {DType::f32, {D, E}}, {"w", {Initialiser::normal, 0, 1}, true});
  graph.outputs().push_back({"y", b.dot(x, w, {E})});
  Remarks remarks;
  const Program program(fuse(graph, {}, remarks));
  ExecutableOptions constant;
  constant.constant_parameters = true;
  const auto packing = program.instantiate({{"L", 40}}, constant), plain = program.instantiate({{"L", 40}});
  EXPECT_GT(packing->planned_bytes(), plain->planned_bytes());

  std::vector<float> xs(40 * 64), ws(96 * 64), packed(40 * 96), wanted(40 * 96);
  for (size_t i = 0; i < xs.size(); ++i) xs[i] = static_cast<float>(i % 7) - 3;
  for (const float weight : {1.0F, -2.0F}) {
    for (size_t i = 0; i < ws.size(); ++i) ws[i] = weight * static_cast<float>(i % 5);
    for (const auto& [executable, y] :
         {std::pair(packing.get(), packed.data()), std::pair(plain.get(), wanted.data())}) {
      executable->bind("x", xs.data());
      executable->bind("w", ws.data());
      executable->bind("y", y);
      std::fill_n(y, packed.size(), NAN);
      executable->run();
      executable->run();
    }
    EXPECT_EQ(packed, wanted);  // whole numbers: no rounding
  }
}

}  // namespace
}  // namespace mambac::test
