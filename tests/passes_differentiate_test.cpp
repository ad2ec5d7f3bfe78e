// Gradients against finite differences in float64, on a whole layer and on random graphs.
#include <gtest/gtest.h>

#include "ir/builder.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "passes/differentiate.h"
#include "passes/simplify.h"
#include "tests/mixer.h"
#include "tests/random_graph.h"

namespace mambac::test {
namespace {

const Node* output(const Graph& graph, const std::string& name) {
  for (const Output& o : graph.outputs()) {
    if (o.name == name) return &graph.node(o.value);
  }
  return nullptr;
}

/// The sum over float outputs of sum(output * seed), as a graph: what differentiate_with_seeds takes the gradient of.
Graph seeded_sum(Graph graph) {
  Builder b(graph);
  NodeId total = b.constant(0);
  for (const Output& o : std::vector<Output>(graph.outputs())) {
    const Type type = graph.node(o.value).type;
    if (!is_float(type.dtype)) continue;
    NodeId product = b.Mul(o.value, b.input("seed." + o.name, {DType::f32, type.dims}));
    total = b.Add(total, b.sum(product, graph.node(product).type.dims));
  }
  graph.outputs() = {{"total", total}};
  return graph;
}

void expect_gradients(const Graph& forward, const Bindings& bindings, Arrays values, const std::string& context) {
  Graph graph = differentiate_with_seeds(forward);
  verify(graph);
  Graph simple = simplify(graph, {.drop_stops = true});
  verify(simple);
  for (auto& [name, value] : draw_values(simple, bindings, {}, 99)) values.try_emplace(name, value);
  const Arrays found = evaluate(graph, bindings, values);
  EXPECT_LE(difference(evaluate(simple, bindings, values), found, 1e-8, 1e-8), 1) << context;
  const Graph total = seeded_sum(forward);
  for (const Node& node : forward.nodes()) {
    if ((node.op != Op::Param && node.op != Op::Input) || !is_float(node.type.dtype)) continue;
    if (node.name.starts_with("mask")) continue;  // every step away from 0 is a jump
    const std::string name = node.op == Op::Param ? node.param.checkpoint_name : node.name;
    const Array expected = finite_differences(total, bindings, values, "total", node.name);
    EXPECT_LE(difference(found.at("grad." + name), expected, 1e-4, 1e-5), 1) << context << ": grad." << name;
  }
}

TEST(Differentiate, Mixer) {
  for (bool starts : {false, true}) {
    Mixer mixer = make_mixer({.starts = starts});
    const Bindings bindings{{"B", 2}, {"L", 5}};
    Arrays values = draw_values(mixer.graph, bindings, mixer.ranges, 3);
    Graph forward = mixer.graph;
    if (starts) {  // a mask has no gradient: it is data
      Graph graph = differentiate(forward, "out", {"x", "A_log", "layers.0.conv_w"});
      const Arrays found = evaluate(graph, bindings, values);
      for (auto [by, name] : {std::pair{"x", "x"}, {"A_log", "layers.0.A_log"}, {"conv_w", "layers.0.conv_w"}}) {
        const Array expected = finite_differences(forward, bindings, values, "out", by);
        EXPECT_LE(difference(found.at(std::string("grad.") + name), expected, 1e-5, 1e-6), 1) << name;
      }
    } else {
      expect_gradients(forward, bindings, values, "mixer");
    }
  }
}

TEST(Differentiate, LossByAllParameters) {
  Mixer mixer = make_mixer({.loss = true});
  Graph graph = differentiate(mixer.graph, "loss");
  verify(graph);
  const Bindings bindings{{"B", 2}, {"L", 4}};
  const Arrays values = draw_values(mixer.graph, bindings, mixer.ranges, 4);
  const Arrays found = evaluate(graph, bindings, values);
  for (const Node& node : mixer.graph.nodes()) {
    if (node.op != Op::Param) continue;
    const std::string name = "grad." + node.param.checkpoint_name;
    ASSERT_TRUE(output(graph, name));
    EXPECT_EQ(output(graph, name)->type, node.type) << name;
    const Array expected = finite_differences(mixer.graph, bindings, values, "loss", node.name);
    EXPECT_LE(difference(found.at(name), expected, 1e-5, 1e-7), 1) << name;
  }
  EXPECT_EQ(found.count("grad.x"), 0u);
}

TEST(Differentiate, GradientsAreNamedAfterTheirValues) {
  Graph graph = differentiate(make_mixer({.loss = true}).graph, "loss");
  EXPECT_TRUE(graph.find("h.grad"));
  EXPECT_TRUE(graph.find("dt.grad"));
}

TEST(Differentiate, ATargetThatIsNotUsedHasAGradientOfZeros) {
  Graph g;
  Builder b(g);
  DimId B = g.add_dim("B", 0), D = g.add_dim("D", 3);
  NodeId x = b.input("x", {DType::f32, {B, D}});
  b.param("p", {DType::f32, {D}}, {"p", {}, true});
  g.outputs() = {{"y", b.Mul(x, x)}};
  Graph graph = differentiate(g, "y");
  EXPECT_EQ(output(graph, "grad.p")->type, (Type{DType::f32, {D}}));
  EXPECT_EQ(evaluate(graph, {{"B", 1}}, draw_values(g, {{"B", 1}}, {}, 1)).at("grad.p").data,
            std::vector<double>(3, 0));
}

TEST(Differentiate, GradientsHaveAllDimensionsInTheTargetsOrder) {
  Graph g;
  Builder b(g);
  DimId B = g.add_dim("B", 0), D = g.add_dim("D", 3), N = g.add_dim("N", 2);
  NodeId x = b.input("x", {DType::f32, {B, D}}), y = b.input("y", {DType::f32, {B, N}});
  NodeId p = b.param("p", {DType::f32, {N, D}}, {"p", {}, true}),
         q = b.param("q", {DType::f32, {D, N}}, {"q", {}, true});
  g.outputs() = {{"y", b.Add(b.sum(b.dot(x, b.Add(p, q), {D}), {B}), b.sum(b.Mul(b.dot(x, q, {D}), y), {B}))}};
  Graph graph = differentiate(g, "y", {"p", "q", "x"});
  for (const char* name : {"p", "q", "x"}) {
    EXPECT_EQ(output(graph, std::string("grad.") + name)->type, g.node(*g.find(name)).type) << name;
  }
  expect_gradients(g, {{"B", 2}}, draw_values(g, {{"B", 2}}, {}, 1), "orders");
}

TEST(Differentiate, Errors) {
  Mixer mixer = make_mixer({.loss = true});
  EXPECT_THROW(differentiate(mixer.graph, "lose"), InputError);
  EXPECT_THROW(differentiate(mixer.graph, "loss", {"in_pro"}), InputError);
  Graph g;
  Builder b(g);
  DimId B = g.add_dim("B", 0), V = g.add_dim("V", 3);
  NodeId ids = b.input("ids", {DType::u8, {B}}), x = b.input("x", {DType::f32, {B}});
  b.location = {std::make_shared<const std::string>("model.mb"), 7, 3};
  g.outputs() = {{"y", b.op(Op::Scatter, {ids, x}, {.dims = {V}})}};
  try {
    differentiate(g, "y", {"x"});
    FAIL() << "scatter has no gradient";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("model.mb:7:3"), std::string::npos) << error.what();
  }
}

TEST(Differentiate, NamesThatGradientsNeedAreTheirs) {
  for (const bool clashing_output : {true, false}) {
    Graph graph;
    Builder b(graph);
    const DimId L = graph.add_dim("L", 0);
    const NodeId x = b.input("x", {DType::f32, {L}}), y = b.input(clashing_output ? "y" : "seed.out", {DType::f32, {L}});
    graph.outputs() = {{"out", b.Mul(x, y)}, {clashing_output ? "grad.x" : "other", y}};
    try {
      differentiate_with_seeds(graph);
      FAIL() << clashing_output;
    } catch (const InputError& error) {
      const std::string expected = clashing_output ? "the output 'grad.x'" : "the input 'seed.out'";
      EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
    }
  }
}

TEST(DifferentiateRandom, AgreesWithFiniteDifferences) {
  for (uint64_t seed = 1000; seed < 1150; ++seed) {
    RandomGraph random = random_graph(seed, {.nodes = 14, .most_elements = 400});
    expect_gradients(random.graph, random.bindings, random.values, "seed " + std::to_string(seed));
    if (HasFailure()) {
      ADD_FAILURE() << print(random.graph);
      return;
    }
  }
}

}  // namespace
}  // namespace mambac::test
