// Parts of the forward pass that the backward pass computes again: what they are, that gradients stay what they were,
// and that less memory is planned.
#include <gtest/gtest.h>

#include "frontend/model.h"
#include "passes/differentiate.h"
#include "passes/pipeline.h"
#include "passes/plan.h"
#include "passes/segments.h"
#include "passes/simplify.h"
#include "tests/device_check.h"

namespace mambac::test {
namespace {

// No residual stream, two recurrences in a layer, one from the end, packed sequences, initial states.
constexpr const char* kLayer = R"(
free B, L

block layer<E, D>(x: [B, L, E], h0: [B, D], starts: [B, L]) -> [B, L, E] {
  param gate:      [D, E] = normal(0, 0.3)
  param candidate: [D, E] = normal(0, 0.3)
  param out:       [E, D] = normal(0, 0.3)
  z = sigmoid(dot<E>(x, gate))
  h = scan<L>(1 - z, z * dot<E>(x, candidate), start = h0, starts = starts)
  back = scan<L, reverse>(z, h, starts = starts)
  return y = tanh(dot<D>(back, out))
}
)";

constexpr const char* kDeep = R"(
model deep<layers = 3, E = 12, D = 20>(x: [B, L, E], h0: [B, D], starts: [B, L]) -> [B, L, E] {
  y = x
  repeat i in layers as "layers.{i}" { y = layer<E, D>(y, h0, starts) }
  return y = y
}
)";

// The output of the first layer is added to that of the last one.
constexpr const char* kSkipped = R"(
model skipped<E = 12, D = 20>(x: [B, L, E], h0: [B, D], starts: [B, L]) -> [B, L, E] {
  a = layer<E, D>(x, h0, starts) as "a"
  b = layer<E, D>(a, h0, starts) as "b"
  c = layer<E, D>(b, h0, starts) as "c"
  return y = a + c
}
)";

Model made_of_layers(const char* model, const char* name) {
  return model_from_text(std::string(kLayer) + model, name);
}

Model with_layers(Model model, int64_t layers) {
  set(model, {{"layers", layers}});
  return model;
}

std::vector<Model> deep_models(int64_t layers) {
  return {with_layers(load_model("mambabyte:tiny"), layers), with_layers(load_model("mamba-lm:tiny"), layers),
          with_layers(made_of_layers(kDeep, "deep"), layers)};
}

/// The loss, ready to be differentiated.
Graph loss_of(const Model& model) {
  Graph graph = training_graph(model);
  std::erase_if(graph.outputs(), [](const Output& output) { return output.name != "loss"; });
  graph.remove_dead();
  return simplify(graph);
}

Ranges ranges_of(const Graph& graph) {
  Ranges ranges{{"starts", {Range::mask}}};
  for (const Node& node : graph.nodes()) {
    if (node.op == Op::Input && !is_float(node.type.dtype)) ranges[node.name] = {Range::integer, 0, 63};
    if (node.op == Op::Param) ranges[node.name] = {Range::uniform, -0.3, 0.3};
  }
  return ranges;
}

TEST(Segments, AreTheLayers) {
  for (const Model& model : deep_models(4)) {
    const Graph graph = loss_of(model);
    const Segments segments = segments_of(graph, graph.outputs()[0].value);
    ASSERT_EQ(segments.ends.size(), 3u) << model.name;
    EXPECT_EQ(recomputable_parts(graph, "loss"), 3);
    for (NodeId end : segments.ends) {
      const Node& node = graph.node(end);
      EXPECT_EQ(node.type.dims.size(), 3u) << model.name << " " << node.name;
      EXPECT_EQ(graph.dim(node.type.dims[2]).name, "E") << model.name << " " << node.name;
    }
  }
}

TEST(Segments, AValueThatIsReadLaterEndsNone) {
  const Graph graph = loss_of(made_of_layers(kSkipped, "skipped"));
  const Segments segments = segments_of(graph, graph.outputs()[0].value);
  EXPECT_EQ(segments.ends.size(), 1u);  // after the second layer, the result of the first is still to be read
}

TEST(Recompute, GradientsAreTheSame) {
  const Bindings bindings{{"B", 2}, {"L", 7}};
  for (const Model& model : deep_models(3)) {
    const Graph loss = loss_of(model);
    const Graph plain = differentiate(loss, "loss");
    const Arrays values = draw_values(plain, bindings, ranges_of(plain), 31);
    const Arrays expected = evaluate(plain, bindings, values);
    for (int parts : {1, 2, 99}) {
      const Graph again = differentiate(loss, "loss", {}, parts);
      EXPECT_GT(again.size(), plain.size());
      for (const auto& [name, found] : evaluate(again, bindings, values))
        EXPECT_EQ(found.data, expected.at(name).data) << model.name << " " << name << " " << parts;
    }
  }
}

/// Its parameter is the name of a model.
class KernelsOfModels : public testing::TestWithParam<std::string> {
 protected:
  Model model(int64_t layers) const {
    for (Model& model : deep_models(layers))
      if (model.name == GetParam()) return std::move(model);
    throw InternalError("no such model");
  }
};

TEST_P(KernelsOfModels, Agree) {
  const Bindings bindings{{"B", 2}, {"L", 19}};
  const Graph training = simplify(differentiate(loss_of(model(2)), "loss", {}, 1));
  const Arrays values = draw_values(training, bindings, ranges_of(training), 33);
  CheckOptions options = quick_check();
  options.fuse = test_device().fuse_options();
  EXPECT_EQ(check_on_cpu(training, bindings, values, options), "");
}

INSTANTIATE_TEST_SUITE_P(Recompute, KernelsOfModels, testing::Values("mambabyte", "mamba_lm", "deep"),
                         [](const auto& test) { return test.param; });

Graph trained(const Model& model, int recompute, DType storage) {
  PipelineOptions options;
  options.kind = GraphKind::train;
  options.storage = storage;
  options.recompute = recompute;
  options.fuse = test_device().fuse_options();
  return run_pipeline(loss_of(model), options).graph;
}

TEST_P(KernelsOfModels, AgreeInBf16) {
  const Bindings bindings{{"B", 2}, {"L", 19}};
  CheckOptions options = quick_check();
  options.relative = 3e-2;
  options.absolute = 5e-2;
  const Graph fused = trained(model(2), 1, DType::bf16);
  const Arrays values = draw_values(fused, bindings, ranges_of(fused), 34);
  const Arrays expected = evaluate(fused, bindings, values, {.round_storage = true});
  EXPECT_EQ(compare_on_cpu(fused, bindings, values, expected, options), "");
}

/// Of all values between kernels.
int64_t planned_bytes(const Graph& fused, const Bindings& bindings) {
  std::vector<Lifetime> lives;
  for (const StoredValue& value : stored_values(fused, bindings, false)) lives.push_back(value.lifetime);
  return plan_arena(lives).bytes;
}

TEST(Recompute, TakesLessMemoryTheMorePartsThereAre) {
  constexpr int kLayers = 12;
  const Bindings bindings{{"B", 2}, {"L", 4096}};
  for (const Model& model : deep_models(kLayers)) {
    int64_t before = planned_bytes(trained(model, 0, DType::bf16), bindings);
    const int64_t none = before;
    for (int parts : {3, 6, 9, kLayers - 1}) {
      const int64_t bytes = planned_bytes(trained(model, parts, DType::bf16), bindings);
      EXPECT_LT(bytes, before) << model.name << " " << parts;
      before = bytes;
    }
    EXPECT_LT(before, none * 2 / 5) << model.name;
  }
}

}  // namespace
}  // namespace mambac::test
