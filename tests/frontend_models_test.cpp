// The shipped models: they load, have the published sizes, and their graphs survive printing and parsing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "frontend/model.h"
#include "ir/equal.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "tests/temporary_folder.h"

namespace mambac {
namespace {

int64_t parameters(const Graph& graph) {
  int64_t total = 0;
  for (const Node& node : graph.nodes()) {
    if (node.op == Op::Param) total += elements_of(graph, node.type, {});
  }
  return total;
}

void expect_round_trip(const Graph& graph, const std::string& label) {
  verify(graph);
  const std::string text = print(graph);
  const Graph parsed = parse_graph(text, "dump.mb");
  std::string why;
  EXPECT_TRUE(equal(graph, parsed, &why)) << label << ": " << why;
  EXPECT_EQ(text, print(parsed)) << label;
}

std::map<std::string, const Node*> params_by_checkpoint_name(const Graph& graph) {
  std::map<std::string, const Node*> params;
  for (const Node& node : graph.nodes()) {
    if (node.op == Op::Param) params[node.param.checkpoint_name] = &node;
  }
  return params;
}

TEST(ShippedModels, EveryModelAndPresetSurvivesPrintingAndParsing) {
  for (const std::string& name : shipped_model_names()) {
    if (name == "mamba") continue;  // a block with a size that its user gives
    const Model model = load_model(name);
    expect_round_trip(instantiate(model), name);
    expect_round_trip(training_graph(model), name + " with its loss");
    check_trainable(instantiate(model));
  }
}

TEST(ShippedModels, TheListNamesModelsAndPresets) {
  const auto names = shipped_model_names();
  for (const char* expected :
       {"mamba", "mambabyte", "mambabyte:small", "mamba-lm:2.8b", "s5-diagonal:tiny", "mingru:tiny", "rg-lru:tiny"}) {
    EXPECT_NE(std::find(names.begin(), names.end(), expected), names.end()) << expected;
  }
  EXPECT_EQ(std::find(names.begin(), names.end(), "prelude"), names.end());
}

TEST(ShippedModels, PublishedParameterCounts) {
  EXPECT_EQ(parameters(instantiate(load_model("mambabyte:353m"))), 353945600);
  EXPECT_EQ(parameters(instantiate(load_model("mambabyte:353m-hub"))), 373950464);
  EXPECT_EQ(parameters(instantiate(load_model("mambabyte:972m"))), 973934080);
  EXPECT_EQ(parameters(instantiate(load_model("mambabyte:1.6b"))), 1606095360);
  // 24 layers of 3,770,880 (norm with it), the tied embedding and the last norm.
  EXPECT_EQ(parameters(instantiate(load_model("mamba-lm:130m"))), 24 * 3771648 + 50280 * 768 + 768);
}

TEST(ShippedModels, CheckpointNamesAreThoseOfMambaSsm) {
  const Graph graph = instantiate(load_model("mambabyte:tiny"));
  const auto params = params_by_checkpoint_name(graph);
  for (const char* leaf : {"norm.weight", "norm.bias", "mixer.A_log", "mixer.D", "mixer.in_proj.weight",
                           "mixer.conv1d.weight", "mixer.conv1d.bias", "mixer.x_proj.weight", "mixer.dt_proj.weight",
                           "mixer.dt_proj.bias", "mixer.out_proj.weight"}) {
    for (const char* layer : {"0", "1"}) {
      const std::string name = std::string("backbone.layers.") + layer + "." + leaf;
      EXPECT_TRUE(params.contains(name)) << name;
    }
  }
  for (const char* name :
       {"backbone.embedding.weight", "backbone.norm_f.weight", "backbone.norm_f.bias", "lm_head.weight"}) {
    EXPECT_TRUE(params.contains(name)) << name;
  }
  EXPECT_EQ(params.size(), 2 * 11 + 4u);
}

TEST(ShippedModels, WeightDecaySparesNormsBiasesAndTheRecurrence) {
  const Graph graph = instantiate(load_model("mambabyte:tiny"));
  for (const auto& [name, node] : params_by_checkpoint_name(graph)) {
    const bool weight = name.ends_with("proj.weight") || name.ends_with("conv1d.weight") ||
                        name.ends_with("embedding.weight") || name.ends_with("lm_head.weight");
    EXPECT_EQ(node->param.weight_decay, weight) << name;
  }
}

TEST(ShippedModels, InitialisersOfTheMixer) {
  const Graph graph = instantiate(load_model("mambabyte:353m"));
  const auto params = params_by_checkpoint_name(graph);
  const std::string mixer = "backbone.layers.7.mixer.";
  EXPECT_EQ(initialiser_text(params.at(mixer + "dt_proj.weight")->param.init), "uniform(-0.125, 0.125)");
  EXPECT_EQ(initialiser_text(params.at(mixer + "dt_proj.bias")->param.init), "dt_bias(0.001, 0.1)");
  EXPECT_EQ(initialiser_text(params.at(mixer + "A_log")->param.init), "log_arange");
  EXPECT_EQ(initialiser_text(params.at(mixer + "D")->param.init), "ones");
  EXPECT_EQ(initialiser_text(params.at(mixer + "conv1d.weight")->param.init), "uniform(-0.5, 0.5)");
  EXPECT_NEAR(params.at(mixer + "out_proj.weight")->param.init.b, 1 / std::sqrt(2048.0 * 53), 1e-15);
}

TEST(ShippedModels, TrainingGraphHasTokensTargetsAndLoss) {
  const Graph graph = training_graph(load_model("mambabyte:tiny"));
  ASSERT_EQ(graph.outputs().size(), 2u);
  EXPECT_EQ(graph.outputs()[0].name, "loss");
  EXPECT_EQ(type_text(graph, graph.node(graph.outputs()[0].value).type), "f32[]");
  EXPECT_EQ(graph.outputs()[1].name, "nll");
  EXPECT_EQ(type_text(graph, graph.node(graph.outputs()[1].value).type), "f32[B, L]");
  ASSERT_TRUE(graph.find("bytes") && graph.find("targets"));
  EXPECT_EQ(type_text(graph, graph.node(*graph.find("targets")).type), "u8[B, L]");
}

std::vector<std::string> outputs_of(const Graph& graph) {
  std::vector<std::string> names;
  for (const Output& output : graph.outputs()) names.push_back(output.name);
  return names;
}

Model with_results(const std::string& results) {
  return model_from_text("free B, L\n"
                         "model own<U = 256, V = 256>(bytes: u8[B, L], targets: u8[B, L]) {\n"
                         "  param table: [U, V] = normal(0, 0.1)\n"
                         "  logits = gather<U>(table, bytes)\n"
                         "  nll = cross_entropy<V>(logits, targets)\n"
                         "  return " + results + "\n}\n",
                         "own.mb");
}

TEST(OwnLoss, IsTrainedOnAndLeftOutOfInference) {
  const Model model = with_results("logits, loss = 2 * mean<B>(mean<L>(nll)), nll");
  const Graph training = training_graph(model), inference = inference_graph(model);
  EXPECT_EQ(outputs_of(training), (std::vector<std::string>{"loss", "nll"}));
  EXPECT_EQ(training.node(training.outputs()[0].value).op, Op::Mul);  // the definition's, not a mean of another one
  EXPECT_EQ(outputs_of(inference), (std::vector<std::string>{"logits"}));
  EXPECT_FALSE(inference.find("targets"));
  EXPECT_TRUE(inference.find("bytes") && inference.find("table"));
}

TEST(OwnLoss, WithoutOneNothingIsLeftOut) {
  const Model model = with_results("logits, nll");
  EXPECT_EQ(outputs_of(inference_graph(model)), (std::vector<std::string>{"logits", "nll"}));
}

TEST(OwnLoss, MustBeAScalarAndNotAlone) {
  const auto message = [](auto make, const std::string& results) -> std::string {
    try {
      make(with_results(results));
    } catch (const InputError& error) {
      return error.what();
    }
    return "no error";
  };
  const std::string wide = message(training_graph, "logits, loss = nll");
  EXPECT_NE(wide.find("own.mb:2:"), std::string::npos) << wide;
  EXPECT_NE(wide.find("result 'loss' of 'own': found f32[B, L], expected a scalar"), std::string::npos) << wide;
  const std::string alone = message(inference_graph, "loss = mean<B>(mean<L>(nll))");
  EXPECT_NE(alone.find("own.mb:2:"), std::string::npos) << alone;
  EXPECT_NE(alone.find("no result but its loss"), std::string::npos) << alone;
}

TEST(ShippedModels, OptionalInputsAreThereOnRequest) {
  const Model model = load_model("mamba");
  const Graph plain = instantiate_block(model, "mixer", {{"E", 8}});
  EXPECT_FALSE(plain.find("h0"));
  const Graph full = instantiate_block(model, "mixer", {{"E", 8}, {"N", 3}}, {"h0", "starts"});
  EXPECT_EQ(type_text(full, full.node(*full.find("h0")).type), "f32[B, D, N]");
  EXPECT_EQ(full.outputs().size(), 2u);
  expect_round_trip(full, "mixer");
}

TEST(ShippedModels, OptimiserBlocksStandAlone) {
  const Model model = load_model("prelude");
  for (const char* block : {"adamw", "sum_squares", "accumulate"}) {
    expect_round_trip(instantiate_block(model, block, {{"P", 1000}}), block);
  }
}

TEST(ShippedModels, SetChangesArgumentsAndBindsFreeDimensions) {
  Model model = load_model("mambabyte:tiny");
  const Bindings bindings = set(model, {{"E", 48}, {"B", 3}, {"L", 100}});
  EXPECT_EQ(bindings, (Bindings{{"B", 3}, {"L", 100}}));
  const Graph graph = instantiate(model);
  EXPECT_EQ(graph.dim(*graph.find_dim("E")).size, 48);
  EXPECT_EQ(graph.dim(*graph.find_dim("D")).size, 96);
}

class SavedModel : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_ / "step-7"); }

  TemporaryFolder folder_;
};

TEST_F(SavedModel, ComesBackFromItsTextAlone) {
  Model model = model_from_text(
      "import \"mambabyte.mb\"\nfree B, L\n"
      "model own<E = 8, depth = 1>(bytes: u8[B, L]) {\n"
      "  return logits = mambabyte<depth, E>(bytes)\n}\n"
      "preset big { E = 16 train.context = 512 train.dtype = bf16 }\n",
      "own.mb", "big");
  set(model, {{"depth", 3}});
  const std::string text = definition_text(model);
  folder_.write("step-7/model.mb", text);
  folder_.write("latest", "step-7\n");
  const Model loaded = load_model(folder_.path().string());
  EXPECT_EQ(loaded.values, model.values);
  EXPECT_EQ(loaded.training, (std::map<std::string, std::string>{{"context", "512"}, {"dtype", "bf16"}}));
  EXPECT_EQ(loaded.checkpoint, (folder_ / "step-7").string());
  EXPECT_EQ(definition_text(loaded), text);
  const Graph before = instantiate(model);
  const Graph after = instantiate(loaded);
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    const NodeId id{static_cast<uint32_t>(i)};
    EXPECT_EQ(print_node(before, id), print_node(after, id));
  }
}

TEST_F(SavedModel, AFolderWithoutAModelIsAnError) {
  try {
    load_model((folder_ / "step-7").string());
    FAIL();
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("a folder without model.mb"), std::string::npos);
  }
}

}  // namespace
}  // namespace mambac
