// Names of kernels in emitted code: what was fused, whatever the model.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "codegen/kernel_name.h"
#include "frontend/model.h"
#include "passes/pipeline.h"

namespace mambac {
namespace {

std::vector<std::string> names_of(const Graph& source, GraphKind kind, DType storage) {
  PipelineOptions options;
  options.kind = kind;
  options.storage = storage;
  const Graph fused = run_pipeline(source, options).graph;
  std::vector<std::string> names;
  for (size_t k = 0; k < fused.kernels.size(); ++k)
    if (fused.kernels[k].kind != KernelGroup::library) names.push_back(kernel_name(fused, static_cast<int>(k)));
  return names;
}

std::vector<std::string> names_of(const std::string& text, const std::string& file, GraphKind kind = GraphKind::prefill,
                                  DType storage = DType::f32) {
  const Model model = model_from_text(text, file);
  const Graph source = kind == GraphKind::train ? training_graph(model) : inference_graph(model);
  return names_of(source, kind, storage);
}

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string all(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : std::set<std::string>(names.begin(), names.end())) text += name + "\n";
  return text;
}

TEST(KernelName, SaysWhatAMixerDoes) {
  const Graph training = training_graph(load_model("mambabyte:tiny"));
  const auto narrow = names_of(training, GraphKind::train, DType::bf16);
  EXPECT_TRUE(has(narrow, "mamba_fwd_project_softplus_discretize_scan_sum_gate_bf16")) << all(narrow);
  EXPECT_TRUE(has(narrow, "mamba_fwd_convolve_silu_bf16")) << all(narrow);
  const auto wide = names_of(training, GraphKind::train, DType::f32);
  EXPECT_TRUE(has(wide, "mamba_bwd_softplus_discretize_scan_silu_sum_gate_f32")) << all(wide);
  const auto step = names_of(inference_graph(load_model("mambabyte:tiny")), GraphKind::step, DType::f32);
  EXPECT_NE(all(step).find("_step_"), std::string::npos) << all(step);
  EXPECT_EQ(all(step).find("_bwd_"), std::string::npos) << all(step);
}

TEST(KernelName, MayBeGivenInEitherSpellingAndInPart) {
  PipelineOptions options;
  options.kind = GraphKind::train;
  const Graph fused = run_pipeline(training_graph(load_model("mambabyte:tiny")), options).graph;
  const auto named = [&](const std::string& text) {
    std::set<int> numbers;
    for (int k = 0; k < static_cast<int>(fused.kernels.size()); ++k)
      if (names_kernel(text, fused, k)) numbers.insert(k);
    return numbers;
  };
  ASSERT_GT(fused.kernels.size(), 10u);
  EXPECT_EQ(named("").size(), fused.kernels.size());
  EXPECT_EQ(named("k1"), std::set<int>{1});  // and no k10
  for (int k = 0; k < static_cast<int>(fused.kernels.size()); ++k) {
    const std::string& name = fused.kernels[static_cast<size_t>(k)].name;
    EXPECT_EQ(named(name), std::set<int>{k}) << name;
    EXPECT_EQ(named(name.substr(0, name.rfind('_'))).count(k), 1u) << name;
    EXPECT_EQ(named(kernel_name(fused, k)).count(k), 1u) << name;
    const bool product = fused.kernels[static_cast<size_t>(k)].kind == KernelGroup::library && name.ends_with("_dot");
    EXPECT_EQ(named("dot").count(k), product ? 1u : 0u) << name;
  }
  EXPECT_GT(named("softplus_discretize").size(), 1u);
  EXPECT_TRUE(named("k" + std::to_string(fused.kernels.size())).empty());
  EXPECT_TRUE(named("nothing").empty());
}

/// Nothing here is of a shipped model.
TEST(KernelName, OfOtherRecurrences) {
  const char* text = R"(free B, L
model leaky<D = 8>(x: [B, L, D]) -> [B, L, D] {
  param rate: [D] = zeros
  return y = scan<L>(exp(-exp(rate) * softplus(x)), x) * tanh(x)
})";
  EXPECT_EQ(names_of(text, "/some/where/leaky.mb"),
            std::vector<std::string>{"leaky_fwd_softplus_discretize_scan_tanh_f32"});
  EXPECT_EQ(names_of(text, "2-fast.mb"), std::vector<std::string>{"k_2_fast_fwd_softplus_discretize_scan_tanh_f32"});
  const auto training = names_of(text, "leaky.mb", GraphKind::train);
  EXPECT_TRUE(std::any_of(training.begin(), training.end(), [](const std::string& name) {
    return name.starts_with("leaky_bwd_") && name.find("_scan_") != std::string::npos;
  })) << all(training);
}

TEST(KernelName, OfPlainArithmetic) {
  EXPECT_EQ(names_of("free B\nmodel plain<D = 8>(x: [B, D]) -> [B, D] { return y = abs(x) * x + 1 - x }", "plain.mb",
                     GraphKind::eval),
            std::vector<std::string>{"plain_fwd_abs_mul_add_f32"});
}

TEST(KernelName, IsBoundedAndTheSameInAllLayers) {
  for (const char* model : {"mambabyte:tiny", "mamba-lm:tiny"})
    for (const DType storage : {DType::f32, DType::bf16}) {
      std::map<std::string, int64_t> more{{"layers", 6}};
      Model deep = load_model(model);
      set(deep, more);
      const auto few = names_of(training_graph(load_model(model)), GraphKind::train, storage);
      const auto many = names_of(training_graph(deep), GraphKind::train, storage);
      EXPECT_GT(many.size(), few.size());
      EXPECT_EQ(all(few), all(many));
      for (const std::string& name : many) {
        EXPECT_LE(name.size(), 80u) << name;
        EXPECT_TRUE(std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '_'; }));
      }
    }
}

}  // namespace
}  // namespace mambac
