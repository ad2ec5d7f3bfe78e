// models/sampling.mb against the sampler of the host.
#include "runtime/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "frontend/model.h"
#include "ir/eval.h"
#include "passes/pipeline.h"
#include "tests/device_check.h"

namespace mambac::test {
namespace {

constexpr int64_t kVocabulary = 256;

const SamplingOptions kOptions[] = {
    {},
    {.temperature = 0.3, .top_k = 0, .top_p = 1},
    {.temperature = 2, .top_k = 40, .top_p = 1},
    {.temperature = 1, .top_k = 0, .top_p = 0.9},
    {.temperature = 0.8, .top_k = 20, .top_p = 0.5},
    {.temperature = 1, .top_k = 1, .top_p = 1},
    {.temperature = 1, .top_k = 0, .top_p = 1e-6},
};

/// Many are equal, and in some rows one is far above the others.
std::vector<float> draw_logits(int64_t rows, Rng& random) {
  std::vector<float> logits(static_cast<size_t>(rows * kVocabulary));
  for (float& x : logits) x = static_cast<float>(std::round(random.normal() * 8) / 4);
  for (int64_t row = 0; row < rows; row += 5)
    logits[static_cast<size_t>(row * kVocabulary) + random.below(kVocabulary)] = 20;
  return logits;
}

struct Draws {
  Arrays inputs;
  std::vector<double> expected;
};

/// The host draws from the same numbers as the graph.
Draws draws_with(const SamplingOptions& options, int64_t rows, uint64_t seed) {
  Rng random(seed);
  const std::vector<float> logits = draw_logits(rows, random);
  Draws draws;
  Array uniform{{rows}, {}};
  Sampler sampler(options);
  for (int64_t row = 0; row < rows; ++row) {
    Rng of_host(seed, static_cast<uint64_t>(row)), of_graph = of_host;
    const std::span<const float> its(logits.data() + row * kVocabulary, kVocabulary);
    draws.expected.push_back(static_cast<double>(sampler.draw(its, of_host)));
    uniform.data.push_back(of_graph.uniform());
  }
  draws.inputs = {{"logits", {{rows, kVocabulary}, {logits.begin(), logits.end()}}},
                  {"uniform", std::move(uniform)},
                  {"temperature", {{}, {options.temperature}}},
                  {"top_k", {{}, {static_cast<double>(options.top_k > 0 ? options.top_k : kVocabulary)}}},
                  {"top_p", {{}, {options.top_p}}}};
  return draws;
}

size_t differences(const Array& found, const std::vector<double>& expected) {
  size_t count = 0;
  for (size_t i = 0; i < expected.size(); ++i) count += found.data.at(i) != expected[i];
  return count;
}

TEST(Sampling, TheGraphDrawsWhatTheHostDraws) {
  const Graph graph = inference_graph(load_model("sampling"));
  for (const SamplingOptions& options : kOptions) {
    const Draws draws = draws_with(options, 64, 3);
    EXPECT_EQ(differences(evaluate(graph, {{"B", 64}}, draws.inputs).at("byte"), draws.expected), 0u);
  }
}

/// A number that lies between two bytes may be either's in f32.
TEST(Sampling, TheDeviceDrawsWhatTheHostDraws) {
  PipelineOptions options;
  options.kind = GraphKind::eval;
  const Program program(run_pipeline(inference_graph(load_model("sampling")), options).graph, {}, test_device());
  const int64_t rows = &test_device() == &emulated_device() ? 3 : 64;
  size_t differing = 0;
  for (const SamplingOptions& sampling : kOptions) {
    const Draws draws = draws_with(sampling, rows, 4);
    differing += differences(run_on_cpu(program, {{"B", rows}}, draws.inputs).at("byte"), draws.expected);
  }
  EXPECT_LE(differing, 1u);
}

TEST(Sampling, TheDeviceSaysWhereLogitsAreWrong) {
  PipelineOptions options;
  options.kind = GraphKind::eval;
  const Program program(run_pipeline(inference_graph(load_model("sampling")), options).graph, {}, test_device());
  Draws draws = draws_with({}, 5, 6);
  std::vector<double>& logits = draws.inputs.at("logits").data;
  logits[0 * kVocabulary + 3] = NAN;
  logits[1 * kVocabulary + 255] = INFINITY;
  std::fill_n(logits.begin() + 2 * kVocabulary, kVocabulary, -INFINITY);
  logits[3 * kVocabulary + 9] = -INFINITY;
  const std::vector<double> wrong = run_on_cpu(program, {{"B", 5}}, draws.inputs).at("wrong").data;
  for (size_t row = 0; row < 5; ++row) EXPECT_EQ(wrong[row] != 0, row < 3) << row;
}

}  // namespace
}  // namespace mambac::test
