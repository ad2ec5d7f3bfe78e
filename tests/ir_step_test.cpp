// The step rules: T steps with state give what the walk over T gives.
#include "ir/step.h"
#include "tests/ir_support.h"

namespace mambac {
namespace {

class Step : public ::testing::Test, public Bench {
 protected:
  Graph once;
  StepState state;

  NodeId op(Op o, std::vector<NodeId> operands, Dims dims, int64_t integer = 0, bool reverse = false) {
    return b.op(o, std::move(operands), {.dims = std::move(dims), .integer = integer, .reverse = reverse});
  }

  /// The graph's one step along L, with outputs "out" and the states'.
  void build(NodeId result) {
    once = Graph();
    state = StepState();
    for (const Dim& dim : graph.dims()) once.dim(once.add_dim(dim.name, dim.size)) = dim;
    Builder builder(once);
    std::vector<NodeId> mapped(graph.size());
    for (uint32_t i = 0; i < graph.size(); ++i) {
      mapped[i] = step(
          builder, graph, {i}, L, [&](NodeId id) { return mapped[id.index]; }, state);
    }
    once.outputs().push_back({"out", mapped[result.index]});
    verify(once);
  }

  /// The rows of an input at one index of L. Inputs have L first or second.
  Array at_step(const Node& node, int64_t t) {
    const Array& whole = values.at(node.name);
    int axis = node.type.position(L);
    if (axis < 0) return whole;
    int64_t outer = axis == 1 ? whole.shape[0] : 1, steps = whole.shape[axis];
    int64_t inner = static_cast<int64_t>(whole.data.size()) / (outer * steps);
    Array part{whole.shape, {}};
    part.shape.erase(part.shape.begin() + axis);
    for (int64_t o = 0; o < outer; ++o) {
      auto from = whole.data.begin() + (o * steps + t) * inner;
      part.data.insert(part.data.end(), from, from + inner);
    }
    return part;
  }

  /// What a piece of state holds before the first step: the origin's start, repeated, or 0.
  Array first_state(const StateSlot& slot) {
    Array array{shape_of(once, once.node(slot.now).type, bindings), {}};
    array.data.assign(elements_of(once, once.node(slot.now).type, bindings), 0);
    NodeId start = operand(graph.node(slot.origin), "start");
    return start.present() ? values.at(graph.node(start).name) : array;
  }

  void expect_same(NodeId result) {
    ASSERT_EQ(type(result).position(L), 1) << "of a result over [B, L, ...]";
    build(result);
    Array whole = run(result);
    Arrays given;
    for (const StateSlot& slot : state.slots) given[slot.name] = first_state(slot);
    int64_t steps = bindings["L"], rows = bindings["B"];
    int64_t inner = static_cast<int64_t>(whole.data.size()) / (steps * rows);
    for (int64_t t = 0; t < steps; ++t) {
      for (const Node& node : graph.nodes()) {
        if (node.op == Op::Input) given[node.name] = at_step(node, t);
      }
      Arrays out = evaluate(once, bindings, given);
      for (const StateSlot& slot : state.slots) given[slot.name] = out.at(slot.name + ".next");
      for (int64_t i = 0; i < rows * inner; ++i) {
        EXPECT_NEAR(out.at("out").data[i], whole.data[(i / inner * steps + t) * inner + i % inner], 1e-12)
            << "step " << t;
      }
    }
  }

  void expect_no_step(NodeId node, const std::string& reason) {
    std::string message = message_of<InputError>([&] { build(node); });
    expect_contains(message, "has no step form along L: " + reason);
    expect_contains(message, "'" + graph.node(node).name + "'");
  }
};

TEST_F(Step, Scan) {
  NodeId decay = in("decay", {D, N}), x = in("x", {B, L, D}), start = in("start", {B, D, N}), packed = starts();
  expect_same(b.scan(decay, x, L));
  expect_same(b.scan(decay, x, L, false, start, packed));
  EXPECT_EQ(state.slots.size(), 2u);
  EXPECT_EQ(state.slots[1].name, "state.1");
  EXPECT_EQ(graph.node(state.slots[1].origin).op, Op::Scan);
}

TEST_F(Step, AStartThatIsMadeOfTheStepsIsNone) {
  const NodeId decay = in("decay", {D, N}), x = in("x", {B, L, D});
  const NodeId last = b.at(b.scan(decay, x, L), L, -1);
  expect_no_step(b.scan(decay, x, L, false, last), "its start is made of the steps");
}

TEST_F(Step, Delay) {
  NodeId x = in("x", {B, L, D}), start = in("start", {B, D}), packed = starts();
  expect_same(b.delay(x, L, false, start, packed));
}

TEST_F(Step, Window) {
  NodeId x = in("x", {B, L, D}), start = in("start", {B, D, K}), packed = starts();
  expect_same(op(Op::Window, {x, start, packed}, {L, K}));
}

TEST_F(Step, WindowOfABf16Value) {
  NodeId x = b.cast(in("x", {B, L, D}), DType::bf16);
  build(op(Op::Window, {x}, {L, K}));
  EXPECT_EQ(once.node(state.slots[0].now).type, once.node(state.slots[0].next).type);
  EXPECT_EQ(once.node(state.slots[0].now).type.dtype, DType::bf16);
}

TEST_F(Step, RecurrencesOfBytesRememberBytes) {
  NodeId bytes = given("bytes", {DType::u8, {B, L}}, {3, 1, 2, 0, 3, 2, 1, 1, 0, 2, 3, 3, 1, 2}), packed = starts();
  NodeId table = in("table", {K, D});
  const auto expect_bytes = [&](NodeId before) {
    expect_same(op(Op::Gather, {table, before}, {K}));
    EXPECT_EQ(once.node(state.slots.back().now).type.dtype, DType::u8);
    EXPECT_EQ(once.node(state.slots.back().next).type.dtype, DType::u8);
  };
  for (NodeId cut : {NodeId{}, packed}) {
    expect_bytes(b.delay(bytes, L, false, {}, cut));
    expect_bytes(b.at(op(Op::Window, {bytes, {}, cut}, {L, N}), N, 0));
  }
}

TEST_F(Step, AMixer) {
  NodeId x = in("x", {B, L, D}), w = in("w", {D, K}), rate = in("rate", {D, N}, -2, -0.5), gate = in("gate", {N});
  NodeId taps = op(Op::Window, {x, {}, {}}, {L, K});
  NodeId u = b.Sigmoid(b.dot(taps, w, {K}));
  NodeId h = b.scan(b.Exp(b.Mul(u, rate)), u, L);
  NodeId position = op(Op::Iota, {}, {L});
  expect_same(b.Add(b.dot(h, gate, {N}), b.Mul(position, u)));
  EXPECT_EQ(state.slots.size(), 3u);
}

TEST_F(Step, BroadcastLosesTheDimension) {
  NodeId x = in("x", {B, L, D}), bias = b.broadcast(in("bias", {D}), {L, N});
  expect_same(b.Add(x, b.sum(bias, {N})));
}

TEST_F(Step, OtherDimensionsStay) {
  NodeId x = in("x", {B, L, K});
  expect_same(b.scan(b.shift(x, K, 1), x, K, true));  // a walk along K within one step of L
  EXPECT_TRUE(state.slots.empty());
}

TEST_F(Step, NoStepForm) {
  NodeId x = in("x", {B, L, D});
  auto fresh = [&] { graph.remove_dead(); };
  expect_no_step(b.scan(x, x, L, true), "it runs from the end");
  fresh();
  expect_no_step(b.delay(*graph.find("x"), L, true), "it runs from the end");
  fresh();
  expect_no_step(b.sum(*graph.find("x"), {L}), "it needs all steps at once");
  fresh();
  expect_no_step(b.dot(*graph.find("x"), *graph.find("x"), {L}), "it needs all steps at once");
  fresh();
  expect_no_step(b.at(*graph.find("x"), L, 0), "it needs one step at every step");
  fresh();
  expect_no_step(op(Op::Extent, {}, {L}), "the number of steps is not known");
  fresh();
  expect_no_step(op(Op::Rename, {*graph.find("x")}, {L, M}), "it needs all steps at once");
  fresh();
  expect_no_step(op(Op::Scatter, {ids("i", {B, L}, 2), *graph.find("x")}, {N}), "it needs all steps at once");
}

}  // namespace
}  // namespace mambac
