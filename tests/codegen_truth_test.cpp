// What must hold for compiled recurrences at any size: agreement with the evaluator with given and last states and
// their gradients, packed sequences that equal separate ones, steps that go on where a prefill ends, and the same bytes
// from run to run and for any number of threads.
#include <gtest/gtest.h>
#include <omp.h>

#include "ir/builder.h"
#include "passes/differentiate.h"
#include "passes/pipeline.h"
#include "passes/simplify.h"
#include "passes/step_form.h"
#include "tests/device_check.h"
#include "tests/mixer.h"
#include "tests/split_check.h"

namespace mambac::test {
namespace {

struct Size {
  int64_t batch, length, channels, states;
};

std::string text_of(const Size& s) {
  return "B" + std::to_string(s.batch) + "_L" + std::to_string(s.length) + "_D" + std::to_string(s.channels) + "_N" +
         std::to_string(s.states);
}

/// The selective scan of Mamba with an initial state, whose last state is an output, too.
Graph selective_scan(const Size& size, bool reverse) {
  Graph g;
  Builder b(g);
  const DimId B = g.add_dim("B", 0), L = g.add_dim("L", 0), D = g.add_dim("D", size.channels),
              N = g.add_dim("N", size.states);
  auto input = [&](const std::string& name, const std::vector<DimId>& dims) {
    return b.input(name, {DType::f32, dims});
  };
  const NodeId u = input("u", {B, L, D}), dt = b.Softplus(input("dt", {B, L, D})), h0 = input("h0", {B, D, N});
  const NodeId a = b.Neg(b.Exp(b.param("A_log", {DType::f32, {D, N}}, {"A_log", {}, true})));
  const NodeId h = b.scan(b.Exp(b.Mul(dt, a)), b.Mul(b.Mul(dt, input("Bm", {B, L, N})), u), L, reverse, h0);
  const NodeId y = b.sum(b.Mul(h, input("C", {B, L, N})), {N});
  g.outputs() = {{"y", b.Add(y, b.Mul(u, b.param("skip", {DType::f32, {D}}, {"skip", {}, true})))},
                 {"last", b.at(h, L, reverse ? 0 : -1)}};
  return g;
}

class SelectiveScan : public testing::TestWithParam<std::tuple<Size, bool>> {};

TEST_P(SelectiveScan, AgreesWithItsGradients) {
  const auto& [size, reverse] = GetParam();
  const Bindings bindings{{"B", size.batch}, {"L", size.length}};
  const Graph graph = simplify(differentiate_with_seeds(selective_scan(size, reverse)));
  const Arrays values = draw_values(graph, bindings, {}, 5);
  const bool small = size.batch * size.length * size.channels * size.states < 4000;
  EXPECT_EQ(check_on_cpu(graph, bindings, values, {.bounds = small}), "");
}

// Each of L = 1, 7, 513, 8192; D = 1, 17, 1536; N = 1, 5, 16, 64; B = 1, 3, and all pairs of them that f64 can afford.
INSTANTIATE_TEST_SUITE_P(
    Sizes, SelectiveScan,
    testing::Combine(testing::Values(Size{1, 1, 1, 1}, Size{3, 1, 17, 5}, Size{1, 1, 1536, 16}, Size{3, 1, 17, 64},
                                     Size{1, 7, 1536, 5}, Size{3, 7, 17, 16}, Size{1, 7, 1, 64}, Size{3, 7, 1536, 1},
                                     Size{1, 513, 17, 64}, Size{3, 513, 1, 5}, Size{3, 513, 17, 1}, Size{1, 513, 1, 16},
                                     Size{1, 513, 1536, 1}, Size{1, 8192, 1, 1}, Size{3, 8192, 1, 5},
                                     Size{1, 8192, 1, 16}, Size{1, 8192, 17, 1}),
                     testing::Bool()),
    [](const auto& info) {
      return text_of(std::get<0>(info.param)) + (std::get<1>(info.param) ? "_reverse" : "_forward");
    });

// ---- packed sequences ----------------------------------------------------------------------------------------------

TEST(Packed, EqualsSeparate) {
  MixerOptions options;
  options.channels = 40;
  options.starts = true;
  const Mixer mixer = make_mixer(options);
  const Graph graph = simplify(differentiate_with_seeds(mixer.graph));
  Remarks remarks;
  const Program program(fuse(graph, {}, remarks), {}, test_device());
  const std::vector<int64_t> lengths{1, 40, 3, 25, 70};
  int64_t total = 0;
  for (int64_t n : lengths) total += n;
  const Bindings whole{{"B", 1}, {"L", total}};
  Arrays values = draw_values(graph, whole, mixer.ranges, 9);
  std::fill(values["starts"].data.begin(), values["starts"].data.end(), 0.0);
  int64_t at = 0;
  for (int64_t n : lengths) {
    values["starts"].data[static_cast<size_t>(at)] = 1;
    at += n;
  }
  const Arrays packed = run_on_cpu(program, whole, values);
  const DimId L = *graph.find_dim("L");
  Arrays joined, summed;
  at = 0;
  for (int64_t n : lengths) {
    Arrays part = between(graph, L, values, at, at + n);
    std::fill(part["starts"].data.begin(), part["starts"].data.end(), 0.0);
    for (const auto& [name, array] : run_on_cpu(program, {{"B", 1}, {"L", n}}, part)) {
      const bool sequence = name == "out" || name == "grad.x";
      if (!sequence && name.rfind("grad.layers", 0) != 0) continue;
      Arrays& into = sequence ? joined : summed;
      if (!into.count(name)) {
        into[name] = array;
      } else if (sequence) {
        into[name] = join(into[name], array, 1);
      } else {
        for (size_t i = 0; i < array.data.size(); ++i) into[name].data[i] += array.data[i];
      }
    }
    at += n;
  }
  EXPECT_EQ(joined.size(), 2u);
  EXPECT_GE(summed.size(), 10u);
  for (const Arrays& separate : {joined, summed})
    for (const auto& [name, array] : separate) EXPECT_LE(difference(packed.at(name), array, 1e-4, 1e-4), 1) << name;
}

// ---- prefill and steps ---------------------------------------------------------------------------------------------

Graph compiled_form(const Graph& source, GraphKind kind) {
  PipelineOptions options;
  options.kind = kind;
  return run_pipeline(source, options).graph;
}

TEST(Steps, GoOnWhereAPrefillEnds) {
  constexpr int64_t kLength = 4096, kPrefill = 61;
  const Mixer mixer = make_mixer({.channels = 24});
  const Program prefill(compiled_form(mixer.graph, GraphKind::prefill), {}, test_device());
  const Program step(compiled_form(mixer.graph, GraphKind::step), {}, test_device());
  const DimId L = *mixer.graph.find_dim("L");
  const Bindings whole{{"B", 2}, {"L", kLength}}, part{{"B", 2}, {"L", kPrefill}};
  Arrays values = draw_values(prefill.graph(), whole, mixer.ranges, 13);
  for (auto& [name, array] : values)
    if (name.rfind("state.", 0) == 0) std::fill(array.data.begin(), array.data.end(), 0.0);
  const Arrays expected = run_on_cpu(prefill, whole, values);
  Arrays state = run_on_cpu(prefill, part, between(prefill.graph(), L, values, 0, kPrefill));
  EXPECT_LE(difference(state.at("out"), cut(expected.at("out"), 1, 0, kPrefill), 1e-5, 1e-5), 1);

  CpuSession session(step, {{"B", 2}});
  double worst = 0;
  Arrays now = values;
  for (int64_t t = kPrefill; t < kLength; ++t) {
    now["x"] = cut(values.at("x"), 1, t, t + 1);
    for (const auto& [name, array] : state)
      if (name.rfind("state.", 0) == 0) now[name.substr(0, name.size() - 5)] = array;  // without ".next"
    state = session.run(now);
    Array want = cut(expected.at("out"), 1, t, t + 1);
    want.shape.erase(want.shape.begin() + 1);
    worst = std::max(worst, difference(state.at("out"), want, 6e-4, 2e-3));
  }
  EXPECT_LE(worst, 1);
  for (const auto& [name, array] : state) {
    if (name == "out") continue;
    EXPECT_LE(difference(array, expected.at(name), 6e-4, 2e-3), 1) << name;
  }
}

// ---- the same bytes ------------------------------------------------------------------------------------------------

class SameBytes : public testing::TestWithParam<Size> {};

TEST_P(SameBytes, FromRunToRunAndForAnyNumberOfThreads) {
  const Size size = GetParam();
  MixerOptions options;
  options.channels = size.channels;
  options.states = size.states;
  options.loss = true;
  const Mixer mixer = make_mixer(options);
  const Bindings bindings{{"B", size.batch}, {"L", size.length}};
  PipelineOptions pipeline;
  pipeline.kind = GraphKind::train;
  const Program program(run_pipeline(mixer.graph, pipeline).graph, {}, test_device());
  const Arrays values = draw_values(mixer.graph, bindings, mixer.ranges, 17);
  const int before = omp_get_max_threads();
  Arrays first;
  // On the emulation device each of them stands for five orders of threads.
  const std::vector<int> all{1, 2, 3, 2, 1}, few{1, 2};
  for (int threads : &test_device() == &emulated_device() ? few : all) {
    omp_set_num_threads(threads);
    const Arrays found = run_on_cpu(program, bindings, values);
    if (first.empty()) first = found;
    for (const auto& [name, array] : found) {
      EXPECT_TRUE(array.data == first.at(name).data) << name << " with " << threads << " threads";
      EXPECT_LE(difference(array, array, 1, 1), 1) << name << " has values that are no numbers";
    }
  }
  omp_set_num_threads(before);
}

INSTANTIATE_TEST_SUITE_P(Sizes, SameBytes,
                         testing::Values(Size{3, 130, 17, 5}, Size{1, 513, 200, 16}, Size{2, 64, 512, 8}),
                         [](const auto& info) { return text_of(info.param); });

}  // namespace
}  // namespace mambac::test
