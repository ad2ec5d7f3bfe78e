// The pipeline as a whole: every kind of graph runs through it, is observed, and comes out the same each time.
#include <gtest/gtest.h>

#include "ir/builder.h"
#include "ir/print.h"
#include "passes/pipeline.h"
#include "tests/mixer.h"

namespace mambac::test {
namespace {

const MixerOptions kMixer{.width = 32, .channels = 48, .states = 4, .rank = 2, .taps = 4};

Graph source_for(GraphKind kind) {
  MixerOptions options = kMixer;
  options.loss = kind == GraphKind::train;
  return make_mixer(options).graph;
}

TEST(Pipeline, EveryKindRunsAndIsTheSameEachTime) {
  for (GraphKind kind : {GraphKind::train, GraphKind::prefill, GraphKind::step, GraphKind::eval}) {
    EXPECT_EQ(graph_kind_from(name_of(kind)), kind);
    for (DType storage : {DType::f32, DType::bf16}) {
      PipelineOptions options;
      options.kind = kind;
      options.storage = storage;
      std::vector<std::string> seen;
      PipelineResult result =
          run_pipeline(source_for(kind), options, [&](std::string_view s, const Graph&) { seen.emplace_back(s); });
      EXPECT_EQ(seen.front(), "source");
      EXPECT_EQ(seen.back(), "stores");
      EXPECT_EQ(seen.size(), stages_after("source", kind).size() + 1);
      EXPECT_EQ(print(result.graph), print(run_pipeline(source_for(kind), options).graph)) << name_of(kind);
    }
  }
  EXPECT_FALSE(graph_kind_from("trian"));
}

TEST(Pipeline, EveryStageKeepsTheOutputs) {
  const Bindings bindings{{"B", 2}, {"L", 5}};
  PipelineOptions options;
  options.kind = GraphKind::train;
  const Graph source = source_for(options.kind);
  const Arrays values = draw_values(source, bindings, make_mixer(kMixer).ranges, 11);
  Arrays expected = evaluate(source, bindings, values);
  run_pipeline(source, options, [&](std::string_view stage, const Graph& graph) {
    const Arrays found = evaluate(graph, bindings, values);
    std::string worst;
    EXPECT_LE(difference(found, expected, 1e-9, 1e-9, &worst), 1) << stage << ": " << worst;
    expected = found;  // the gradients that a stage adds are kept by the stages after it
  });
  EXPECT_TRUE(expected.contains("grad.layers.0.A_log"));
}

TEST(Pipeline, TimeIsWhatRecurrencesWalk) {
  Graph plane;
  Builder b(plane);
  const DimId B = plane.add_dim("B", 0), H = plane.add_dim("H", 0), W = plane.add_dim("W", 0),
              D = plane.add_dim("D", 4);
  const NodeId x = b.input("x", {DType::f32, {B, H, W, D}});
  const NodeId down = b.scan(b.constant(0.5), x, H);
  plane.outputs() = {{"out", down}};
  for (GraphKind kind : {GraphKind::prefill, GraphKind::step}) {
    PipelineOptions options;
    options.kind = kind;
    const Graph result = run_pipeline(plane, options).graph;
    const auto state = result.find("state.0." + plane.node(down).name);
    ASSERT_TRUE(state);
    EXPECT_EQ(type_text(result, result.node(*state).type), "f32[B, W, D]");
  }
  plane.outputs() = {{"out", b.scan(b.constant(0.5), down, W)}};
  PipelineOptions options;
  options.kind = GraphKind::prefill;
  EXPECT_THROW(run_pipeline(plane, options), InputError);
}

TEST(Pipeline, NoDimensionToStepAlong) {
  PipelineOptions options;
  options.kind = GraphKind::step;
  options.walk = "time";
  EXPECT_THROW(run_pipeline(source_for(options.kind), options), InputError);
}

}  // namespace
}  // namespace mambac::test
