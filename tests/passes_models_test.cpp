// The passes on the shipped models, as the language gives them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>

#include "frontend/model.h"
#include "ir/print.h"
#include "passes/differentiate.h"
#include "passes/pipeline.h"
#include "passes/precision.h"
#include "passes/simplify.h"
#include "tests/mixer.h"
#include "tests/split_check.h"

namespace mambac::test {
namespace {

const std::vector<std::string> kTiny{"mambabyte:tiny", "mamba-lm:tiny", "s5-diagonal:tiny", "mingru:tiny",
                                     "rg-lru:tiny"};

Ranges ranges_of(const Graph& graph) {
  Ranges ranges;
  for (const Node& node : graph.nodes()) {
    if (node.op == Op::Input && !is_float(node.type.dtype)) ranges[node.name] = {Range::integer, 0, 63};
    if (node.op == Op::Param) ranges[node.name] = {Range::uniform, -0.3, 0.3};
  }
  return ranges;
}

TEST(Models, GradientsOfTheLoss) {
  for (const std::string& name : kTiny) {
    const Graph forward = training_graph(load_model(name));
    const Graph graph = simplify(differentiate(simplify(forward), "loss"), {.drop_stops = true});
    const Bindings bindings{{"B", 2}, {"L", 5}};
    const Arrays values = draw_values(graph, bindings, ranges_of(graph), 21);
    const Arrays found = evaluate(graph, bindings, values);
    Random random(22);
    for (const Node& node : forward.nodes()) {
      if (node.op != Op::Param) continue;
      const Array& gradient = found.at("grad." + node.param.checkpoint_name);
      ASSERT_EQ(gradient.data.size(), values.at(node.name).data.size()) << name << " " << node.name;
      const auto i = static_cast<size_t>(random.integer(0, static_cast<int64_t>(gradient.data.size()) - 1));
      Arrays moved = values;
      const double step = 1e-5;
      moved[node.name].data[i] += step;
      const double above = evaluate(forward, bindings, moved).at("loss").data[0];
      moved[node.name].data[i] -= 2 * step;
      const double below = evaluate(forward, bindings, moved).at("loss").data[0];
      EXPECT_NEAR(gradient.data[i], (above - below) / (2 * step), 1e-7) << name << " " << node.param.checkpoint_name;
    }
  }
}

TEST(Models, PrefillThenStepsIsTheWhole) {
  for (const std::string& name : kTiny) {
    const Graph graph = simplify(instantiate(load_model(name)));
    const Bindings bindings{{"B", 2}, {"L", 9}};
    const Arrays values = draw_values(graph, bindings, ranges_of(graph), 23);
    for (int64_t split : {1, 4}) expect_split(graph, bindings, values, split, name);
  }
}

TEST(Models, Bf16StaysNear) {
  for (const std::string& name : kTiny) {
    const Graph graph =
        simplify(differentiate(simplify(training_graph(load_model(name))), "loss"), {.drop_stops = true});
    const Graph narrow = lower_precision(graph, DType::bf16);
    const Bindings bindings{{"B", 2}, {"L", 6}};
    const Arrays values = draw_values(graph, bindings, ranges_of(graph), 24);
    std::string worst;
    EXPECT_LE(difference(evaluate(narrow, bindings, values, {.round_storage = true}), evaluate(graph, bindings, values),
                         3e-2, 5e-2, &worst),
              1)
        << name << ": " << worst;
  }
}

/// A model of many layers passes the passes before fusion in the blink of an eye.
TEST(Models, TwentyThousandNodesTakeLittleTime) {
  const Graph forward = training_graph(load_model("mambabyte:353m"));
  const auto begin = std::chrono::steady_clock::now();
  Graph graph = simplify(differentiate(simplify(forward), "loss"), {.drop_stops = true});
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(graph.size(), 5000u);
  EXPECT_LE(seconds.count(), 10);
  std::printf("353m: %zu nodes forward, %zu with gradients, %.2f s\n", forward.size(), graph.size(), seconds.count());
}

/// Every value of floats by its name.
Arrays all_values(Graph graph, const Bindings& bindings, const Arrays& values) {
  graph.outputs().clear();
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (const Node& node = graph.node({i}); is_float(node.type.dtype)) graph.outputs().push_back({node.name, {i}});
  return evaluate(graph, bindings, values);
}

void expect_names_kept(const Graph& before, const Graph& after, bool same_values, const std::string& where) {
  const Bindings bindings{{"B", 2}, {"L", 5}};
  const Arrays values = draw_values(after, bindings, ranges_of(after), 27);
  Arrays old_values, new_values;
  if (same_values) old_values = all_values(before, bindings, values), new_values = all_values(after, bindings, values);
  for (const Node& node : after.nodes()) {
    const auto old = before.find(node.name);
    if (!old) continue;
    const Node& was = before.node(*old);
    EXPECT_EQ(node.location.str(), was.location.str()) << where << " " << node.name;
    if (!new_values.contains(node.name) || node.type.dims != was.type.dims) continue;
    const std::vector<double>&found = new_values.at(node.name).data, &expected = old_values.at(node.name).data;
    for (size_t i = 0; i < found.size(); ++i)
      ASSERT_NEAR(found[i], expected[i], 1e-9 * (1 + std::abs(expected[i]))) << where << " " << node.name;
  }
}

TEST(Models, ANameMeansOneValueInAllStages) {
  for (const std::string& name : kTiny)
    for (const GraphKind kind : {GraphKind::train, GraphKind::prefill, GraphKind::step, GraphKind::eval}) {
      const Model model = load_model(name);
      const bool loss = kind == GraphKind::train || kind == GraphKind::eval;
      PipelineOptions options;
      options.kind = kind;
      options.storage = DType::bf16;
      std::optional<Graph> before;
      run_pipeline(loss ? training_graph(model) : instantiate(model), options,
                   [&](std::string_view stage, const Graph& graph) {
                     const bool same_values = stage != "state" && stage != "step";
                     const std::string where = fmt::format("{} {} {}", name, name_of(kind), stage);
                     if (before) expect_names_kept(*before, graph, same_values, where);
                     before = graph;
                   });
    }
}

}  // namespace
}  // namespace mambac::test
