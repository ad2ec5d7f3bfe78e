// One step of a model in few kernels (FuseOptions::few_kernels), compiled and run, against the float64 evaluator.
#include <gtest/gtest.h>

#include "frontend/model.h"
#include "passes/pipeline.h"
#include "tests/device_check.h"
#include "tests/strangers.h"

namespace mambac::test {
namespace {

/// A norm before a product whose result is cut, a short convolution and a small projection.
constexpr const char* kMamba = R"(
import "mamba.mb"
free B, L
model layer<E = 128, D = 96, N = 4, K = 4, R = 6>(x: [B, L, E]) -> [B, L, E] {
  return y = x + mixer<E, D, N, K, R>(layer_norm<E>(x))
}
preset plain {}
preset wide { E = 256 D = 130 }
preset odd  { E = 70 D = 64 }
preset tiny { E = 20 D = 40 R = 2 }
)";

/// Nobody's model: heads with a decay each, a delayed path, the mean square of the input beside its largest value.
constexpr const char* kStranger = R"(
free B, L
model layer<E = 96, H = 3, P = 40, K = 3>(x: [B, L, E]) -> [B, L, E] {
  param into: [4, H, P, E] = uniform(-0.1, 0.1)
  param taps: [H, P, K] = uniform(-0.5, 0.5)
  param rate: [H] = uniform(-1, 1)
  param back: [E, H, P] = uniform(-0.1, 0.1)
  n = rms_norm<E>(x) / (1 + amax<E>(x * x))
  p = dot<E>(n, into)
  v = dot<K>(window<L, K>(at<4, 0>(p)), taps)
  h = scan<L>(sigmoid(at<4, 1>(p) + rate), v * at<4, 2>(p))
  return y = x + dot<H, P>(h * silu(at<4, 3>(p)), back)
}
preset plain {}
preset wide { E = 256 }
preset odd  { E = 50 P = 7 }
)";

/// Sums of many products round as much as their terms are large.
const Ranges kWeights = {{"in_proj", {Range::uniform, -0.3, 0.3}},
                         {"x_proj", {Range::uniform, -0.3, 0.3}},
                         {"out_proj", {Range::uniform, -0.3, 0.3}}};

PipelineOptions step_options(DType storage) {
  PipelineOptions options;
  options.kind = GraphKind::step;
  options.storage = storage;
  options.narrow_parameters = true;
  options.fuse.library_contractions = false;
  options.fuse.few_kernels = true;
  return options;
}

std::string checked(const Graph& source, int64_t batch, const Ranges& ranges, DType storage,
                    const Program::Scheduler& schedule = {}) {
  const Bindings bindings{{"B", batch}};
  Arrays values, expected;
  try {
    PipelineResult result =
        run_pipeline(source, step_options(storage), [&](std::string_view stage, const Graph& graph) {
          if (stage != "parameters") return;  // which rounds as the kernels do
          values = draw_values(graph, bindings, ranges, 31);
          expected = evaluate(graph, bindings, values);
        });
    CheckOptions check{.schedule = schedule};
    if (storage == DType::bf16) check.relative = 3e-2, check.absolute = 5e-2;
    return compare_on_cpu(std::move(result.graph), bindings, values, expected, check);
  } catch (const InputError&) {
    return "";  // no step form: it runs from the end
  }
}

using Case = std::tuple<int64_t, DType>;
class FewKernels : public testing::TestWithParam<Case> {};

TEST_P(FewKernels, Mamba) {
  const auto [batch, storage] = GetParam();
  for (const char* preset : {"plain", "wide", "odd", "tiny"})
    EXPECT_EQ(checked(instantiate(model_from_text(kMamba, "mamba", preset)), batch, kWeights, storage), "") << preset;
}

TEST_P(FewKernels, AStranger) {
  const auto [batch, storage] = GetParam();
  for (const char* preset : {"plain", "wide", "odd"})
    EXPECT_EQ(checked(instantiate(model_from_text(kStranger, "stranger", preset)), batch, {}, storage), "") << preset;
}

/// However rows are cut and lanes divide them.
TEST_P(FewKernels, UnderAnySchedule) {
  const auto [batch, storage] = GetParam();
  const Graph graph = instantiate(model_from_text(kMamba, "mamba", "wide"));
  for (const int columns : {1, 2, 8})
    for (const int rows : {1, 2, 4}) {
      const auto schedule = [&](const Graph& fused, int number) {
        Schedule schedule = test_device().schedule(fused, number);
        schedule.columns = columns;
        schedule.rows_together = rows;
        schedule.row_blocks = 30 / rows;
        return schedule;
      };
      EXPECT_EQ(checked(graph, batch, kWeights, storage, schedule), "") << columns << " columns, " << rows << " rows";
    }
}

TEST_P(FewKernels, HandwrittenStrangers) {
  const auto [batch, storage] = GetParam();
  for (const Stranger& s : handwritten_strangers()) EXPECT_EQ(checked(s.graph, batch, s.ranges, storage), "") << s.name;
}

TEST_P(FewKernels, DrawnStrangers) {
  const auto [batch, storage] = GetParam();
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Stranger s = stranger(seed);
    EXPECT_EQ(checked(s.graph, batch, s.ranges, storage), "") << s.text;
  }
}

INSTANTIATE_TEST_SUITE_P(Steps, FewKernels,
                         testing::Combine(testing::Values(1, 3), testing::Values(DType::f32, DType::bf16)),
                         [](const auto& info) {
                           return "B" + std::to_string(std::get<0>(info.param)) + "_" +
                                  name_of(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace mambac::test
