// simplify keeps meaning, and finds what it is there for.
#include <gtest/gtest.h>

#include "ir/builder.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "passes/simplify.h"
#include "tests/random_graph.h"

namespace mambac::test {
namespace {

int count(const Graph& graph, Op op) {
  int n = 0;
  for (const Node& node : graph.nodes()) n += node.op == op;
  return n;
}

class Simplify : public testing::Test {
 protected:
  Graph graph;
  Builder b{graph};
  DimId B = graph.add_dim("B", 0), L = graph.add_dim("L", 0), D = graph.add_dim("D", 6), E = graph.add_dim("E", 6),
        T = graph.add_dim("T", 2), R = graph.add_dim("R", 2), N = graph.add_dim("N", 3), C = graph.add_dim("C", 8);
  NodeId x = b.input("x", {DType::f32, {B, L, D}});
  NodeId y = b.input("y", {DType::f32, {B, L, D}});

  /// The simplified graph with the output `value`; checks that it computes the same.
  Graph simplified(NodeId value, bool drop_stops = false) {
    graph.outputs() = {{"value", value}};
    Graph result = simplify(graph, {.drop_stops = drop_stops});
    verify(result);
    const Bindings bindings{{"B", 2}, {"L", 3}};
    const Arrays values = draw_values(graph, bindings, {}, 1);
    const Arrays before = evaluate(graph, bindings, values), after = evaluate(result, bindings, values);
    EXPECT_LE(difference(after, before, 1e-12, 1e-12), 1) << print(result);
    EXPECT_EQ(result.node(result.outputs()[0].value).type, graph.node(value).type);
    return result;
  }
  const Node& result_of(const Graph& g) { return g.node(g.outputs()[0].value); }
};

TEST_F(Simplify, NeutralOperations) {
  EXPECT_EQ(result_of(simplified(b.Add(b.Mul(x, b.constant(1)), b.constant(0)))).op, Op::Input);
  EXPECT_EQ(result_of(simplified(b.Neg(b.Neg(x)))).op, Op::Input);
  EXPECT_EQ(result_of(simplified(b.Sub(x, b.Neg(y)))).op, Op::Add);
  EXPECT_EQ(result_of(simplified(b.Add(x, b.Neg(y)))).op, Op::Sub);
  EXPECT_EQ(result_of(simplified(b.Mul(x, b.constant(-1)))).op, Op::Neg);
  EXPECT_EQ(count(simplified(b.Mul(b.Neg(x), b.Neg(y))), Op::Neg), 0);
  EXPECT_EQ(result_of(simplified(b.cast(x, DType::f32))).op, Op::Input);
  EXPECT_EQ(result_of(simplified(b.Select(b.constant(0), y, x))).name, "x");
}

TEST_F(Simplify, FoldsConstants) {
  Graph g = simplified(b.Mul(x, b.Exp(b.Add(b.constant(1), b.constant(-1)))));
  EXPECT_EQ(result_of(g).op, Op::Input);
  g = simplified(b.Mul(b.Mul(b.constant(3), b.Neg(x)), b.constant(0.5)));
  EXPECT_EQ(count(g, Op::Mul), 1);
  EXPECT_EQ(count(g, Op::Neg), 0);
  g = simplified(b.Mul(x, b.op(Op::Extent, {}, {.dims = {D}})));
  EXPECT_EQ(count(g, Op::Extent), 0);
}

TEST_F(Simplify, EqualNodesAreComputedOnce) {
  Graph g = simplified(b.Mul(b.Exp(b.Add(x, y)), b.Exp(b.Add(y, x))));
  EXPECT_EQ(count(g, Op::Exp), 1);
  EXPECT_EQ(count(g, Op::Add), 1);
}

TEST_F(Simplify, DimensionOrderIsKept) {
  // x + 0 would have the order of x, [B, L, D, T]; the sum has [B, L, T, D].
  NodeId wide = b.Add(b.broadcast(b.constant(0), {D, T}), b.broadcast(x, {T}));
  simplified(wide);
}

TEST_F(Simplify, StopStaysUntilGradientsAreTaken) {
  NodeId stopped = b.Stop(x);
  EXPECT_EQ(count(simplified(stopped), Op::Stop), 1);
  EXPECT_EQ(count(simplified(stopped, true), Op::Stop), 0);
}

TEST_F(Simplify, BroadcastsThatAlignmentMakesNeedless) {
  Graph g = simplified(b.Mul(b.broadcast(b.constant(2), {B, L, D}), x));
  EXPECT_EQ(count(g, Op::Broadcast), 0);
  g = simplified(b.sum(b.broadcast(x, {N}), {N}));
  EXPECT_EQ(count(g, Op::Sum), 0);
  g = simplified(b.dot(x, b.broadcast(b.constant(1), {D}), {D}));
  EXPECT_EQ(count(g, Op::Dot), 0);
  EXPECT_EQ(count(g, Op::Sum), 1);
}

TEST_F(Simplify, LooksThroughConcatAndStack) {
  NodeId low = b.input("low", {DType::f32, {B, L, C}});
  NodeId parts =
      b.op(Op::Concat, {b.slice(low, C, R, 0), b.slice(low, C, N, 2), b.slice(low, C, N, 5)}, {.dims = {C, R, N, N}});
  EXPECT_EQ(result_of(simplified(parts)).name, "low");
  EXPECT_EQ(result_of(simplified(b.at(b.op(Op::Stack, {x, y}, {.dims = {T}}), T, 1))).name, "y");
  NodeId small = b.input("small", {DType::f32, {B, L, R}}), big = b.input("big", {DType::f32, {B, L, N}});
  NodeId all = b.op(Op::Concat, {small, big, big}, {.dims = {C, R, N, N}});
  EXPECT_EQ(result_of(simplified(b.slice(all, C, N, 5))).name, "big");
  EXPECT_EQ(count(simplified(b.at(all, C, 3)), Op::Concat), 0);
  NodeId pair = b.input("pair", {DType::f32, {B, T, D}});
  EXPECT_EQ(result_of(simplified(b.op(Op::Stack, {b.at(pair, T, 0), b.at(pair, T, -1)}, {.dims = {T}}))).name, "pair");
}

TEST_F(Simplify, PiecesThatFillADimensionAreSideBySide) {
  NodeId a = b.input("a", {DType::f32, {B, L, R}}), c = b.input("c", {DType::f32, {B, L, N}}),
         d = b.input("d", {DType::f32, {B, L, N}});
  NodeId sum =
      b.Add(b.Add(b.unslice(d, N, C, 5), b.unslice(a, R, C, 0)), b.Add(b.unslice(c, N, C, 2), b.unslice(d, N, C, 2)));
  Graph g = simplified(sum);
  EXPECT_EQ(count(g, Op::Unslice), 0);
  EXPECT_EQ(result_of(g).op, Op::Concat);
  EXPECT_EQ(count(g, Op::Add), 1);

  NodeId whole = b.input("whole", {DType::f32, {B, L, T, D}});
  g = simplified(b.Add(b.put(x, T, 1), b.Add(whole, b.put(y, T, 0))));
  EXPECT_EQ(count(g, Op::Put), 0);
  EXPECT_EQ(count(g, Op::Stack), 1);
  EXPECT_EQ(count(simplified(b.Add(b.put(x, T, 1), b.put(y, T, 1))), Op::Stack), 0);  // index 0 is left out
}

TEST_F(Simplify, AStartOfZeroIsNoStart) {
  NodeId zero = b.broadcast(b.constant(0), {B, D});
  Graph g = simplified(b.scan(b.Sigmoid(x), y, L, false, zero));
  EXPECT_EQ(count(g, Op::Const), 0);
}

TEST_F(Simplify, NamesOfRemainingValuesAreKept) {
  b.hint = "wanted";
  NodeId value = b.Mul(b.Mul(x, b.constant(2)), b.constant(2));
  Graph g = simplified(b.Add(b.Exp(value), y));
  EXPECT_EQ(result_of(g).name, graph.node(graph.outputs()[0].value).name);
}

TEST_F(Simplify, LargeGraphsTakeLittleTime) {
  NodeId sum = x;
  for (int i = 0; i < 5000; ++i) sum = b.Add(b.Mul(sum, b.constant(0.5)), b.Tanh(b.Neg(b.Neg(sum))));
  graph.outputs() = {{"value", sum}};
  EXPECT_LE(simplify(graph).size(), 15010u);
}

TEST(SimplifyRandom, KeepsMeaning) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    RandomGraph random = random_graph(seed, {.differentiable = seed % 2 == 0});
    Graph result = simplify(random.graph, {.drop_stops = true});
    verify(result);
    EXPECT_LE(result.size(), random.graph.size() + 2);  // a rule may add a small node to save a large one
    const Arrays before = evaluate(random.graph, random.bindings, random.values);
    std::string worst;
    EXPECT_LE(difference(evaluate(result, random.bindings, random.values), before, 1e-9, 1e-9, &worst), 1)
        << "seed " << seed << " output " << worst << "\n"
        << print(random.graph) << print(result);
    EXPECT_EQ(print(result), print(simplify(random.graph, {.drop_stops = true})));
  }
}

TEST(RandomGraphs, CoverTheOpTable) {
  std::vector<int> counts(op_table().size());
  for (uint64_t seed = 0; seed < 300; ++seed) {
    RandomGraph random = random_graph(seed, {.differentiable = seed % 2 == 0});
    EXPECT_FALSE(random.graph.outputs().empty());
    for (const Node& node : random.graph.nodes()) ++counts[static_cast<size_t>(node.op)];
  }
  for (const OpInfo& op : op_table()) {
    if (op.op != Op::ChunkStarts && op.op != Op::PartDot) {  // which only fusion makes, with dimensions of its own
      EXPECT_GE(counts[static_cast<size_t>(op.op)], 3) << op.name;
    }
  }
}

}  // namespace
}  // namespace mambac::test
