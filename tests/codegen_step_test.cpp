// One step of a model in few kernels (FuseOptions::few_kernels), compiled and run, against the float64 evaluator.
#include <fmt/format.h>
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
const Ranges kWeights = {{"in_proj", {Range::uniform, -0.3, 0.3}},  {"x_proj", {Range::uniform, -0.3, 0.3}},
                         {"out_proj", {Range::uniform, -0.3, 0.3}}, {"into", {Range::uniform, -0.3, 0.3}},
                         {"few", {Range::uniform, -0.2, 0.2}},      {"rate", {Range::uniform, 0.2, 1}},
                         {"out", {Range::uniform, -0.3, 0.3}}};

PipelineOptions step_options(DType storage) {
  PipelineOptions options;
  options.kind = GraphKind::step;
  options.storage = storage;
  options.narrow_parameters = true;
  options.fuse.library_contractions = false;
  options.fuse.few_kernels = true;
  return options;
}

/// `in_parts`: counts the sums that the step leaves in parts.
std::string checked(const Graph& source, int64_t batch, const Ranges& ranges, DType storage,
                    const Program::Scheduler& schedule = {}, int* in_parts = nullptr) {
  const Bindings bindings{{"B", batch}};
  Arrays values, expected;
  try {
    PipelineResult result =
        run_pipeline(source, step_options(storage), [&](std::string_view stage, const Graph& graph) {
          if (stage != "parameters") return;  // which rounds as the kernels do
          values = draw_values(graph, bindings, ranges, 31);
          expected = evaluate(graph, bindings, values);
        });
    if (in_parts)
      for (const Node& node : result.graph.nodes()) *in_parts += node.op == Op::PartDot;
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

/// What a layer may be of: a norm, a product in parts, work on each channel, a projection onto few values, and states
/// that these decide about. Numbers are not round where they need not be.
std::string drawn_layer(Random& random) {
  using Texts = std::vector<std::string>;
  const Texts norms{"rms_norm<E>(x)", "layer_norm<E>(x)", "x"};
  const Texts mixed{"silu(at<2, 0>(p))", "tanh(dot<K>(window<L, K>(at<2, 0>(p)), taps) + shift)",
                    "at<2, 0>(p) * sigmoid(at<2, 1>(p)) + shift"};
  const Texts deciding{"softplus(dot<R>(slice<C, R, 0>(low), back) + shift)", "sigmoid(sum<R>(slice<C, R, 1>(low)))"};
  const Texts input{"slice<C, N, R>(low) * u", "sum<C>(low) * u"};
  return fmt::format(R"(
free B, L
model layer<E = {}, D = {}, N = {}, R = {}, K = 3>(x: [B, L, E]) -> [B, L, E] {{
  dim C = R + 2 * N
  param into: [2, D, E] = uniform(-0.3, 0.3)
  param taps: [D, K] = uniform(-0.5, 0.5)
  param shift: [D] = uniform(-0.5, 0.5)
  param few:  [C, D] = uniform(-0.2, 0.2)
  param back: [D, R] = uniform(-0.3, 0.3)
  param rate: [D, N] = uniform(0.2, 1)
  param out:  [E, D] = uniform(-0.2, 0.2)
  p   = dot<E>({}, into)
  u   = {}
  low = dot<D>(u, few)
  dt  = {}
  h   = scan<L>(exp(-dt * rate), dt * {})
  y   = sum<N>(h * slice<C, N, R + N>(low)) + u
  return y = x + dot<D>(y * at<2, 1>(p), out)
}}
)",
                     random.pick<int>({70, 100, 130}), random.pick<int>({48, 64, 80, 136, 160}),
                     random.pick<int>({2, 3, 8}), random.pick<int>({4, 5, 17}), random.pick(norms), random.pick(mixed),
                     random.pick(deciding), random.pick(input));
}

TEST_P(FewKernels, ProjectionsInParts) {
  const auto [batch, storage] = GetParam();
  Random random(7);
  int in_parts = 0;
  for (int i = 0; i < 4; ++i) {
    const std::string text = drawn_layer(random);
    EXPECT_EQ(checked(instantiate(model_from_text(text, "drawn")), batch, kWeights, storage, {}, &in_parts), "")
        << text;
  }
  EXPECT_EQ(in_parts, 4) << "the layers are such that their projections are cut";
}

/// However many warps a block has, and however many of its parts add up what others left.
TEST_P(FewKernels, PartsUnderAnySchedule) {
  const auto [batch, storage] = GetParam();
  if (batch == 1 || storage != DType::f32) return;
  const Graph graph = instantiate(model_from_text(kMamba, "mamba", "plain"));
  for (const auto& [teams, rows] : {std::pair{1, 1}, {3, 2}, {8, 3}}) {
    int in_parts = 0;
    const auto schedule = [&, teams = teams, rows = rows](const Graph& fused, int number) {
      Schedule schedule = test_device().schedule(fused, number);
      schedule.rows_per_task = rows;
      if (schedule.teams > 1) schedule.teams = teams;
      return schedule;
    };
    EXPECT_EQ(checked(graph, batch, kWeights, storage, schedule, &in_parts), "") << teams << " teams, " << rows;
    EXPECT_EQ(in_parts, 1);
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
