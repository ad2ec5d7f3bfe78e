// bf16 storage: which values become narrow, and that the result stays near.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "ir/builder.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "passes/widths.h"
#include "passes/differentiate.h"
#include "passes/fuse.h"
#include "passes/precision.h"
#include "passes/simplify.h"
#include "passes/step_form.h"
#include "tests/mixer.h"

namespace mambac::test {
namespace {

const MixerOptions kWide{.width = 32, .channels = 48, .states = 4, .rank = 2, .taps = 4, .loss = true};

Graph training_graph() {
  return simplify(differentiate(make_mixer(kWide).graph, "loss"), {.drop_stops = true});
}

TEST(Precision, F32ChangesNothing) {
  Graph graph = training_graph();
  EXPECT_EQ(print(lower_precision(graph, DType::f32)), print(graph));
}

TEST(Precision, ContractionsReadNarrowOperandsAndStoreNarrowResults) {
  const Graph graph = training_graph();
  const Graph narrow = lower_precision(graph, DType::bf16);
  verify(narrow);
  const Widths widths(narrow);
  int large = 0, weights = 0;
  for (uint32_t i = 0; i < narrow.size(); ++i) {
    if (!widths.large({i})) continue;
    ++large;
    const Node& dot = narrow.nodes()[i];
    for (NodeId operand : dot.operands) EXPECT_EQ(narrow.node(operand).type.dtype, DType::bf16) << dot.name;
    bool is_weight_gradient = narrow.dim(dot.attrs.dims[0]).is_free();
    weights += is_weight_gradient;
    EXPECT_EQ(dot.type.dtype, is_weight_gradient ? DType::f32 : DType::bf16) << dot.name;
  }
  EXPECT_GE(large, 9);
  EXPECT_GE(weights, 3);
  for (const Node& node : narrow.nodes()) {
    const bool exact = node.op == Op::Scan || node.op == Op::Sum || node.op == Op::Exp;
    EXPECT_TRUE(!exact || node.type.dtype == DType::f32) << node.name;
  }
}

TEST(Precision, PiecesOfAJoinAreCastNotTheJoin) {
  const Graph narrow = lower_precision(training_graph(), DType::bf16);
  int joins = 0;
  for (const Node& node : narrow.nodes()) {
    if (node.op == Op::Concat || node.op == Op::Stack) {
      ++joins;
      EXPECT_EQ(node.type.dtype, DType::bf16) << node.name;
    }
  }
  EXPECT_EQ(joins, 2);  // the gradients of the mixer's two projections
}

TEST(Precision, EveryParameterIsCastAtMostOnce) {
  const Graph narrow = lower_precision(training_graph(), DType::bf16);
  std::vector<int> casts(narrow.size());
  for (const Node& node : narrow.nodes()) {
    if (node.op == Op::Cast) ++casts[node.operands[0].index];
  }
  for (size_t i = 0; i < casts.size(); ++i) EXPECT_LE(casts[i], 1) << narrow.nodes()[i].name;
}

TEST(Precision, OutputsAndStatesKeepTheirType) {
  const Graph graph = make_mixer({.width = 32, .channels = 48, .states = 4, .rank = 2, .taps = 4}).graph;
  const DimId L = *graph.find_dim("L");
  for (const Graph& whole : {expose_state(graph, L), step_form(graph, L)}) {
    const Graph narrow = lower_precision(whole, DType::bf16);
    verify(narrow);
    ASSERT_EQ(narrow.outputs().size(), whole.outputs().size());
    for (size_t i = 0; i < whole.outputs().size(); ++i) {
      EXPECT_EQ(narrow.node(narrow.outputs()[i].value).type, whole.node(whole.outputs()[i].value).type)
          << whole.outputs()[i].name;
    }
  }
}

Graph fused_training_graph() {
  Remarks remarks;
  return fuse(lower_precision(training_graph(), DType::bf16), {}, remarks);
}

/// Values of the size of activations, states aside, that a walk reads from another one.
std::vector<NodeId> between_walks(const Graph& fused) {
  std::set<NodeId> found;
  const auto walk = [&](const Node& node) {
    return node.kernel >= 0 && fused.kernels[static_cast<size_t>(node.kernel)].kind == KernelGroup::walk;
  };
  for (const Node& reader : fused.nodes())
    for (NodeId o : reader.operands)
      if (o.present() && walk(reader) && walk(fused.node(o)) && fused.node(o).kernel != reader.kernel &&
          fused.node(o).op != Op::ChunkStarts)
        found.insert(o);
  return {found.begin(), found.end()};
}

TEST(Precision, WalksLeaveNarrowValuesForWalks) {
  const Graph fused = fused_training_graph(), narrow = narrow_stores(fused, DType::bf16);
  verify(narrow);
  EXPECT_EQ(narrow.kernels, fused.kernels);
  EXPECT_EQ(print(narrow_stores(fused, DType::f32)), print(fused));
  const std::vector<NodeId> before = between_walks(fused), after = between_walks(narrow);
  EXPECT_EQ(before.size(), after.size());
  EXPECT_TRUE(
      std::any_of(before.begin(), before.end(), [&](NodeId id) { return fused.node(id).type.dtype == DType::f32; }));
  for (NodeId id : after) EXPECT_EQ(narrow.node(id).type.dtype, DType::bf16) << narrow.node(id).name;
}

/// Two values lie between the walks of the graph, and both keep their type.
void expect_two_stay_whole(const Graph& graph) {
  Remarks remarks;
  const Graph fused = fuse(graph, {}, remarks);
  EXPECT_EQ(between_walks(fused).size(), 2U);
  EXPECT_EQ(print(narrow_stores(fused, DType::bf16)), print(fused));
}

TEST(Precision, SumsOntoValuesFromElsewhereAndWhatScansReadStayWhole) {
  Graph graph;
  Builder b(graph);
  const DimId L = graph.add_dim("L", 0), D = graph.add_dim("D", 4);
  const NodeId x = b.input("x", {DType::f32, {L, D}}), decay = b.input("decay", {DType::f32, {L, D}});
  const NodeId stream = b.Add(x, b.scan(decay, x, L));
  const NodeId back = b.scan(decay, b.Mul(stream, decay), L, true);
  graph.outputs().push_back({"out", b.Mul(stream, back)});
  expect_two_stay_whole(graph);
}

TEST(Precision, WhatIsComparedWithItsLargestStaysWhole) {
  Graph graph;
  Builder b(graph);
  const DimId L = graph.add_dim("L", 0), D = graph.add_dim("D", 8);
  const NodeId half = b.constant(0.5), x = b.Tanh(b.scan(half, b.input("x", {DType::f32, {L, D}}), L));
  const NodeId largest = b.op(Op::Eq, {x, b.op(Op::Amax, {x}, {.dims = {D}})});
  graph.outputs().push_back({"out", b.scan(half, largest, L)});
  expect_two_stay_whole(graph);
}

/// The largest value is an operand of a large contraction, too, which alone reads it rounded.
TEST(Precision, WhatIsComparedStaysWholeBesideAContraction) {
  Graph graph;
  Builder b(graph);
  const DimId L = graph.add_dim("L", 0), N = graph.add_dim("N", 4), D = graph.add_dim("D", 32),
              E = graph.add_dim("E", 32);
  const NodeId x = b.input("x", {DType::f32, {L, D, N}});
  b.hint = "most";
  const NodeId most = b.op(Op::Amax, {x}, {.dims = {N}});
  b.hint = "equal";
  const NodeId equal = b.op(Op::Eq, {x, most});
  b.hint = "projected";
  const NodeId projected = b.dot(most, b.input("w", {DType::f32, {E, D}}), {D});
  graph.outputs() = {{"equal", equal}, {"projected", projected}};
  const Graph narrow = lower_precision(graph, DType::bf16);
  const auto operand_type = [&](const char* name, size_t i) {
    return narrow.node(narrow.node(*narrow.find(name)).operands[i]).type.dtype;
  };
  EXPECT_EQ(operand_type("equal", 1), DType::f32);
  EXPECT_EQ(operand_type("projected", 0), DType::bf16);
}

TEST(Precision, ResultsStayNear) {
  const Graph graph = training_graph();
  const Graph narrow = narrow_stores(fused_training_graph(), DType::bf16);
  const Bindings bindings{{"B", 1}, {"L", 8}};
  Mixer mixer = make_mixer(kWide);
  for (const char* name : {"in_proj", "x_proj", "out_proj"}) mixer.ranges[name] = {Range::uniform, -0.2, 0.2};
  const Arrays values = draw_values(graph, bindings, mixer.ranges, 8);
  const Arrays exact = evaluate(graph, bindings, values),
               rounded = evaluate(narrow, bindings, values, {.round_storage = true});
  std::string worst;
  EXPECT_LE(difference(rounded, exact, 3e-2, 5e-2, &worst), 1) << worst;
  EXPECT_GT(difference(rounded, exact, 1e-6, 1e-6), 1) << "nothing was rounded";
}

}  // namespace
}  // namespace mambac::test
