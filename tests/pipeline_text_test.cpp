// Text at every stage: what the pipeline makes of the shipped models, printed, is read back as the same graph.
#include <gtest/gtest.h>

#include "frontend/model.h"
#include "ir/equal.h"
#include "ir/print.h"
#include "ir/error.h"
#include "passes/pipeline_text.h"

namespace mambac {
namespace {

constexpr GraphKind kKinds[] = {GraphKind::train, GraphKind::prefill, GraphKind::step, GraphKind::eval};

/// The pipeline's options as the driver sets them.
PipelineOptions options_of(GraphKind kind, DType storage) {
  PipelineOptions options;
  options.kind = kind;
  options.storage = storage;
  options.narrow_parameters = true;
  options.fuse.library_contractions = kind != GraphKind::step;
  return options;
}

/// Counts what the fused graph must have for the test to mean something.
struct Seen {
  int graphs = 0, kernels = 0, chunk_starts = 0, resumed = 0, part_dots = 0;

  void count(const Graph& graph) {
    ++graphs;
    kernels += static_cast<int>(graph.kernels.size());
    for (const Node& node : graph.nodes()) {
      chunk_starts += node.op == Op::ChunkStarts ? 1 : 0;
      part_dots += node.op == Op::PartDot ? 1 : 0;
      resumed += operand(node, "resume").present() ? 1 : 0;
    }
  }
};

/// From the text of a stage, with the line above it, the pipeline goes on to the same graph.
void expect_to_go_on(const std::string& text, const std::string& wanted, const std::string& where) {
  const std::optional<PipelinePoint> point = point_of(text);
  ASSERT_TRUE(point.has_value()) << where;
  const PipelineResult result =
      run_stages(parse_graph(text, "dump.mb"), point->options, stages_after(point->stage, point->options.kind));
  EXPECT_TRUE(print(result.graph) == wanted) << where << ": from its text the pipeline makes another graph";
}

void expect_text_at_every_stage(const Graph& source, const PipelineOptions& options, const std::string& name,
                                Seen& seen) {
  constexpr size_t kSmall = 600;  // nodes: of the models with many layers, all stages after all stages take minutes
  std::vector<std::string> texts;
  const PipelineResult result = run_pipeline(source, options, [&](std::string_view stage, const Graph& graph) {
    const std::string where = name + " " + std::string(name_of(options.kind)) + " " + name_of(options.storage) +
                              " after " + std::string(stage);
    const std::string text = print(graph);
    const Graph parsed = parse_graph(text, "dump.mb");
    std::string why;
    EXPECT_TRUE(equal(graph, parsed, &why)) << where << ": " << why;
    EXPECT_TRUE(text == print(parsed)) << where << ": the text of the parsed graph differs";
    seen.count(graph);
    texts.push_back(point_text({std::string(stage), options}) + text);
  });
  if (source.size() > kSmall) return;
  for (const std::string& text : texts)
    expect_to_go_on(text, print(result.graph), name + " from " + text.substr(0, text.find('\n')));
}

Seen check_model(const std::string& name) {
  const Model model = load_model(name);
  const Graph plain = instantiate(model), training = training_graph(model);
  Seen seen;
  for (const GraphKind kind : kKinds) {
    const bool with_loss = kind == GraphKind::train || kind == GraphKind::eval;
    for (const DType storage : {DType::f32, DType::bf16}) {
      expect_text_at_every_stage(with_loss ? training : plain, options_of(kind, storage), name, seen);
    }
  }
  return seen;
}

class PipelineText : public testing::TestWithParam<const char*> {};

TEST_P(PipelineText, ReadsBackAtEveryStage) {
  const Seen seen = check_model(GetParam());
  EXPECT_GE(seen.graphs, 2 * 4 * 5);
  EXPECT_GT(seen.kernels, 0);
}

INSTANTIATE_TEST_SUITE_P(ShippedModels, PipelineText,
                         testing::Values("mambabyte:tiny", "mamba-lm:tiny", "s5-diagonal:tiny", "mingru:tiny",
                                         "rg-lru:tiny", "mambabyte:353m"));

/// A block with an initial state, a last state and packed sequences, and its gradients by seeds.
TEST(PipelineTextOfABlock, TheMixerWithStatesAndStarts) {
  const Graph mixer = instantiate_block(load_model("mamba"), "mixer", {{"E", 8}}, {"h0", "starts"});
  Seen seen;
  for (const GraphKind kind : kKinds) {
    PipelineOptions options = options_of(kind, DType::f32);
    options.seeds = true;
    expect_text_at_every_stage(mixer, options, "mixer", seen);
  }
  EXPECT_GT(seen.chunk_starts, 0);
  EXPECT_GT(seen.resumed, 0);
}

TEST(PipelineTextOfAStep, InFewKernels) {
  PipelineOptions options = options_of(GraphKind::step, DType::bf16);
  options.fuse.few_kernels = true;
  Model model = load_model("mambabyte:353m");
  set(model, {{"layers", 2}});
  Seen seen;
  expect_text_at_every_stage(instantiate(model), options, "mambabyte:353m", seen);
  EXPECT_GT(seen.part_dots, 0);
}

// ---- options as text -----------------------------------------------------------------------------------------------

TEST(PipelinePoint, SaysEveryOptionThatIsNotItsDefault) {
  PipelineOptions options;
  options.kind = GraphKind::train;
  options.storage = DType::bf16;
  options.wrt = {"a", "backbone.layers.0.norm.weight"};
  options.seeds = true;
  options.recompute = 3;
  options.fuse.few_kernels = true;
  options.fuse.recompute = 16;
  const std::string text = point_text({"clean", options});
  EXPECT_EQ(text,
            "# mambac after clean: graph=train dtype=bf16 seeds=1 wrt=a,backbone.layers.0.norm.weight recompute=3 "
            "few_kernels=1 stored_every=16\n");
  const auto point = point_of(text + "free L\n");
  ASSERT_TRUE(point.has_value());
  EXPECT_EQ(point->stage, "clean");
  EXPECT_EQ(point_text(*point), text);
  EXPECT_EQ(point_text({"source", {}}), "# mambac after source: graph=eval dtype=f32\n");
  EXPECT_FALSE(point_of("free L\n").has_value());
}

TEST(PipelinePoint, RefusesWhatIsNotKnown) {
  for (const char* words : {"graph=trian", "dtype=i32", "seeds=2", "recompute=-1", "recompute=x", "speed=9", "seeds"}) {
    PipelineOptions options;
    EXPECT_THROW(set_options(options, words), InputError) << words;
  }
  EXPECT_THROW(point_of("# mambac after clean\n"), InputError);
  EXPECT_THROW(stages_after("state", GraphKind::train), InputError);
  EXPECT_THROW(stages_named(std::vector<std::string>{"simplify", "fusion"}), InputError);
}

}  // namespace
}  // namespace mambac
