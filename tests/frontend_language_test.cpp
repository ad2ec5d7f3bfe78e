// What the language means, and that print and parse_graph are inverse on graphs that no definition gives.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "frontend/model.h"
#include "ir/builder.h"
#include "ir/equal.h"
#include "ir/print.h"
#include "tests/temporary_folder.h"

namespace mambac {
namespace {

Graph graph_of(const std::string& text) {
  return instantiate(model_from_text(text, "test.mb"));
}

std::string line_of(const Graph& graph, const std::string& name) {
  const auto id = graph.find(name);
  return id ? print_node(graph, *id) : "there is no " + name;
}

void expect_round_trip(const Graph& graph) {
  std::string why;
  const Graph parsed = parse_graph(print(graph), "dump.mb");
  EXPECT_TRUE(equal(graph, parsed, &why)) << why << "\n" << print(graph);
}

TEST(Language, NamesOfValuesAndLocations) {
  const Graph graph = graph_of(
      "free B, L\n"
      "block twice(x) { return x + x }\n"
      "model m<E = 4>(x: [B, L, E]) {\n"
      "  y = twice(x) * 3\n"
      "  z = twice(y)\n"
      "  return z\n"
      "}\n");
  EXPECT_EQ(line_of(graph, "y"), "y: f32[B, L, E] = mul(y.add, y.const)");
  EXPECT_EQ(line_of(graph, "z"), "z: f32[B, L, E] = add(y, y)");
  EXPECT_EQ(graph.node(*graph.find("y")).location.str(), "test.mb:4:16");
  EXPECT_EQ(graph.node(*graph.find("z")).location.str(), "test.mb:2:27");
  EXPECT_EQ(graph.outputs()[0].name, "z");
}

/// Some editors begin UTF-8 text with it.
TEST(Language, AByteOrderMarkIsPassedOver) {
  const TemporaryFolder folder;
  const std::string mark = "\xef\xbb\xbf";
  folder.write("part.mb", mark + "block twice(x) { return x + x }\n");
  const auto file = folder.write("m.mb", mark + "import \"part.mb\" free L model m(x: [L]) { return y = twice(x) }\n");
  const Model model = load_model(file.string());
  EXPECT_EQ(instantiate(model).node({0}).location.column, 33);
  EXPECT_EQ(definition_text(model).find(mark), std::string::npos);
}

TEST(Language, StaticExpressionsAreFolded) {
  const Graph graph =
      graph_of("free L model m<E = 10, R = ceil(E / 4)>(x: [L, E]) { return x * (R - 1 / 4) + sqrt(16) }");
  EXPECT_NE(print(graph).find("const<2.75>()"), std::string::npos);
  EXPECT_NE(print(graph).find("const<4>()"), std::string::npos);
}

TEST(Language, TheNameOfAFreeDimensionIsItsSize) {
  const Graph graph = graph_of("free L model m(x: [L]) { return x / L }");
  EXPECT_NE(print(graph).find("extent<L>()"), std::string::npos);
}

TEST(Language, PassingANameSharesTheDimension) {
  const Graph graph = graph_of(
      "free L block f<D>(x) { param w: [D] = ones  return x * w }\n"
      "model m<E = 4>(x: [L, E]) { return y = f<E>(x) }");
  EXPECT_EQ(line_of(graph, "y"), "y: f32[L, E] = mul(x, w)");
}

TEST(Language, ANumberMakesADimensionOfTheCalleesName) {
  const Graph graph = graph_of(
      "free L\n"
      "block f<N>(x) { param w: [N] = ones  return sum<N>(x * w) }\n"
      "model m(x: [L]) { a = f<3>(x) as \"a\"  b = f<3>(a) as \"b\"  return f<5>(b) as \"c\" }");
  ASSERT_TRUE(graph.find_dim("N") && graph.find_dim("N.1"));
  EXPECT_EQ(graph.dim(*graph.find_dim("N")).size, 3);
  EXPECT_EQ(graph.dim(*graph.find_dim("N.1")).size, 5);
  EXPECT_EQ(graph.dims().size(), 3u);
  expect_round_trip(graph);
}

TEST(Language, RepeatCarriesValuesAndNamesScopes) {
  const Graph graph = graph_of(
      "free L\n"
      "block f<E>(x) { param w: [E] = ones as \"weight\"  return x * w }\n"
      "model m<E = 4>(x: [L, E]) {\n"
      "  repeat i in 3 as \"layers.{i}\" { x = f<E>(x + i) as \"mul\" }\n"
      "  return x\n"
      "}");
  std::vector<std::string> names;
  for (const Node& node : graph.nodes()) {
    if (node.op == Op::Param) names.push_back(node.param.checkpoint_name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"layers.0.mul.weight", "layers.1.mul.weight", "layers.2.mul.weight"}));
  EXPECT_NE(print(graph).find("const<2>()"), std::string::npos);
}

TEST(Language, TheSecondNameOfAWalkIsItsLastState) {
  const Graph forward = graph_of("free L model m<E = 4>(a: [L, E]) { h, last = scan<L>(a, a)  return h, last }");
  EXPECT_EQ(line_of(forward, "last"), "last: f32[E] = at<L, -1>(h)");
  const Graph reverse =
      graph_of("free L model m<E = 4>(a: [L, E]) { h, last = scan<L, reverse>(a, a)  return h, last }");
  EXPECT_EQ(line_of(reverse, "last"), "last: f32[E] = at<L, 0>(h)");
  const Graph window =
      graph_of("free L model m<E = 4, K = 3>(a: [L, E]) { w, last = window<L, K>(a)  return w, last }");
  EXPECT_EQ(line_of(window, "last"), "last: f32[E, K] = at<L, -1>(w)");
}

TEST(Language, OptionalInputsPassThrough) {
  const Graph graph = graph_of(
      "free L\n"
      "block f(a, start?) { return scan<L>(a, a, start = start) }\n"
      "model m<E = 4>(x: [L, E], s: [E]) { return plain = f(x), started = f(x, start = s) }");
  EXPECT_EQ(line_of(graph, "plain"), "plain: f32[L, E] = scan<L>(x, x)");
  EXPECT_EQ(line_of(graph, "started"), "started: f32[L, E] = scan<L>(x, x, start = s)");
}

TEST(Language, SeveralResults) {
  const Graph graph = graph_of(
      "free L block f(x) { return x + 1, twice = x * 2 }\n"
      "model m(x: [L]) { a, b = f(x)  c = f(b)  return a, b, sum = a + c }");
  EXPECT_EQ(graph.outputs().size(), 3u);
  EXPECT_EQ(graph.outputs()[2].name, "sum");
}

TEST(Language, UserBlocksComeBeforeThePreludes) {
  const Graph graph = graph_of("free L block silu(x) { return exp(x) } model m(x: [L]) { return silu(x) }");
  EXPECT_EQ(graph.size(), 2u);
}

TEST(Language, AnnotationsAreCheckedByName) {
  EXPECT_NO_THROW(
      graph_of("free L dim E = 3 dim N = 2 model m(x: [L, E], y: [L, N]) { z: [L, N, E] = x * y  return z }"));
}

TEST(Dump, GraphsOfPassesSurvive) {
  Graph graph;
  graph.name = "weird name";
  const DimId length = graph.add_dim("L", 0);
  const DimId tiles = graph.add_tiles(length, 32);
  const DimId width = graph.add_dim("D", 8);
  const DimId odd = graph.add_dim("in", 4);
  const DimId two = graph.add_dim("2.1", 2);
  Builder build(graph);
  const NodeId x = build.input("x", {DType::bf16, {length, width}});
  build.location = {std::make_shared<const std::string>("dir/\"odd\" \xff.mb"), 3, 14};
  const NodeId h = build.scan(x, x, length, true);
  const NodeId late = build.input("return", {DType::f32, {tiles, width}});
  const NodeId starts = build.op(Op::ChunkStarts, {h, {}}, {{length, tiles}});
  ParamInfo info{"w \"quoted\"", {Initialiser::uniform, -1.0 / 3, 1e-300}, false};
  const NodeId w = build.param("param", {DType::f32, {odd, width}}, info);
  const NodeId z = build.op(Op::Dot, {x, w}, {{width}, 0, 0, DType::bf16});
  build.at(z, length, -1);
  build.put(h, two, 1);
  for (const double number : {-0.0, 1e300, std::numeric_limits<double>::infinity(), std::nan(""), 0.1}) {
    build.constant(number);
  }
  const NodeId scaled = build.op(Op::Mul, {late, starts});
  graph.kernels = {{KernelGroup::walk, "k0_rwalk_scan", length, true, width, {two}, {odd, tiles}},
                   {KernelGroup::walk, "k1", length, false, {}, {}, {}},
                   {KernelGroup::rows, "an odd name", {}, false, width, {tiles}, {}},
                   {KernelGroup::library, "return", {}, false, {}, {}, {}}};
  graph.node(h).kernel = 0;
  graph.node(scaled).kernel = 3;
  graph.outputs() = {{"grad:w", scaled}, {"z", z}};
  expect_round_trip(graph);
}

/// Tiles of a dimension of fixed size are declared; elsewhere a quotient is no dimension.
TEST(Dump, OfAWalkAlongAFixedDimensionIsADefinition) {
  constexpr const char* kModel = "model m(x: [D]) { h = scan<D>(0.5, x)  return chunk_starts<D, D/8>(h) }";
  const Graph graph = graph_of(std::string("dim D = 20 free D/8 ") + kModel);
  const DimId tiles = graph.node(graph.outputs()[0].value).type.dims.at(0);
  EXPECT_EQ(graph.dim(tiles).base, *graph.find_dim("D"));
  expect_round_trip(graph);
  EXPECT_THROW(graph_of(std::string("dim D = 20 ") + kModel), InputError);
}

TEST(Dump, UnusedAndEmpty) {
  Graph empty;
  expect_round_trip(empty);
  Builder build(empty);
  build.constant(1);
  expect_round_trip(empty);
}

TEST(Dump, EqualNamesTheFirstDifference) {
  const Graph a = graph_of("free L model m(x: [L]) { y = x + 1  return y }");
  const Graph b = graph_of("free L model m(x: [L]) { y = x * 1  return y }");
  std::string why;
  EXPECT_FALSE(equal(a, b, &why));
  EXPECT_NE(why.find("op differs"), std::string::npos) << why;
  Graph walked = a, reversed = a;
  walked.kernels = {{KernelGroup::walk, "k0", *a.find_dim("L"), false, {}, {}, {}}};
  EXPECT_FALSE(equal(a, walked));
  reversed.kernels = walked.kernels;
  reversed.kernels[0].reverse = true;
  EXPECT_FALSE(equal(walked, reversed, &why));
  EXPECT_EQ(why, "kernel 0 differs: k0 and k0");
}

}  // namespace
}  // namespace mambac
