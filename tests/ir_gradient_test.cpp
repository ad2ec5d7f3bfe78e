// Every gradient of the op table against central differences in float64, with whole and with repeated out-gradients.
#include <cmath>

#include "tests/ir_support.h"

namespace mambac {
namespace {

class Gradient : public ::testing::Test, public Bench {
 protected:
  NodeId op(Op o, std::vector<NodeId> operands, Dims dims = {}, int64_t integer = 0, bool reverse = false) {
    return b.op(o, std::move(operands), {.dims = std::move(dims), .integer = integer, .reverse = reverse});
  }

  /// The loss is sum(node * g); g has all dimensions of the node, or lacks one or all of them.
  void check_gradients(NodeId node) {
    Dims dims = type(node).dims;
    check_with(node, dims);
    check_with(node, {});
    for (DimId lacking : dims) check_with(node, without(dims, {lacking}));
  }

  /// The dimensions of the gradient of an operand, for tests of what it costs.
  Dims gradient_dims(NodeId node, size_t operand, Dims g_dims) {
    NodeId g = in("shape_only", std::move(g_dims));
    return type(gradient(b, node, g)[operand]).dims;
  }

 private:
  void check_with(NodeId node, const Dims& g_dims) {
    SCOPED_TRACE(std::string(name_of(graph.node(node).op)) + " with g" + dims_text(graph, g_dims));
    NodeId g = in("g", g_dims, 0.5, 1.5);
    NodeId loss = b.sum(b.Mul(node, g), joined(type(node).dims, g_dims));
    std::vector<NodeId> found = gradient(b, node, g);
    const std::vector<NodeId> operands = graph.node(node).operands;
    ASSERT_EQ(found.size(), operands.size());
    int checked = 0;
    for (size_t i = 0; i < operands.size(); ++i) {
      if (!operands[i].present() || !is_float(type(operands[i]).dtype)) {
        EXPECT_FALSE(found[i].present());
        continue;
      }
      SCOPED_TRACE("operand " + std::to_string(i));
      ASSERT_TRUE(found[i].present());
      EXPECT_TRUE(without(type(found[i]).dims, type(operands[i]).dims).empty());
      compare(loss, operands[i], found[i]);
      ++checked;
    }
    EXPECT_GT(checked, 0);
    verify(graph);
  }

  void compare(NodeId loss, NodeId operand, NodeId found) {
    // Added to the operand times zero, the gradient has the operand's order of dimensions.
    NodeId whole = b.Add(b.Mul(operand, b.constant(0)), broadcast_to(b, found, type(operand)));
    ASSERT_EQ(type(whole).dims, type(operand).dims);
    Array gradient = run(whole);
    std::vector<double>& x = values.at(graph.node(operand).name).data;
    for (size_t i = 0; i < x.size(); ++i) {
      const double kept = x[i], step = 1e-5;
      x[i] = kept + step;
      double above = run(loss).data[0];
      x[i] = kept - step;
      double below = run(loss).data[0];
      x[i] = kept;
      EXPECT_NEAR(gradient.data[i], (above - below) / (2 * step), 1e-7) << "element " << i;
    }
  }
};

TEST_F(Gradient, Unary) {
  for (Op o : {Op::Neg, Op::Abs, Op::Exp, Op::Sigmoid, Op::Tanh, Op::Softplus, Op::Sin, Op::Cos, Op::Log, Op::Sqrt,
               Op::Rsqrt}) {
    check_gradients(op(o, {in("x_" + std::string(name_of(o)), {B, D}, 0.3, 2)}));
  }
  check_gradients(op(Op::Abs, {in("negative", {B, D}, -2, -0.3)}));
  check_gradients(b.cast(in("c", {B, D}), DType::bf16));
}

TEST_F(Gradient, BinaryWithRepeatedOperands) {
  for (Op o : {Op::Add, Op::Sub, Op::Mul, Op::Div, Op::Max, Op::Min}) {
    std::string name(name_of(o));
    check_gradients(op(o, {in("x_" + name, {B, D}), in("y_" + name, {D, N}, 1.1, 2)}));
    check_gradients(op(o, {in("u_" + name, {}, 0.5, 1), in("v_" + name, {B}, -2, -1)}));
  }
}

TEST_F(Gradient, TiesGoToTheFirst) {
  NodeId x = f32("x", {D}, {1, 2, 3}), y = f32("y", {D}, {1, 3, 2}), g = f32("g", {}, {5});
  std::vector<NodeId> to = gradient(b, b.Max(x, y), g);
  EXPECT_EQ(run(to[0]).data, (std::vector<double>{5, 0, 5}));
  EXPECT_EQ(run(to[1]).data, (std::vector<double>{0, 5, 0}));
  to = gradient(b, b.Min(x, y), g);
  EXPECT_EQ(run(to[0]).data, (std::vector<double>{5, 5, 0}));
  EXPECT_EQ(run(to[1]).data, (std::vector<double>{0, 0, 5}));
}

TEST_F(Gradient, TiesShareThatOfAmax) {
  NodeId x = f32("x", {D}, {3, 1, 3}), g = f32("g", {}, {5});
  EXPECT_EQ(run(gradient(b, op(Op::Amax, {x}, {D}), g)[0]).data, (std::vector<double>{2.5, 0, 2.5}));
}

TEST_F(Gradient, Select) {
  NodeId condition = ids("condition", {B, L}, 2);
  NodeId node = b.Select(condition, in("x", {L, D}), in("y", {B}));
  check_gradients(node);
  EXPECT_FALSE(gradient(b, node, in("h", {}))[0].present());
}

TEST_F(Gradient, Reductions) {
  check_gradients(b.sum(in("x", {B, L, D}), {L}));
  check_gradients(b.sum(in("y", {B, D}), {B, D}));
  check_gradients(op(Op::Amax, {in("z", {B, L, D})}, {L, D}));
}

TEST_F(Gradient, Dot) {
  check_gradients(b.dot(in("x", {B, L, D}), in("w", {D, N}), {D}));
  check_gradients(b.dot(in("p", {B, L, D}), in("q", {B, D, N}), {D}));  // B is a batch dimension
  check_gradients(b.dot(in("r", {B, D, N}), in("s", {L, D, N}), {D, N}));
  check_gradients(b.dot(in("t", {D}), in("u", {D}), {D}));
}

TEST_F(Gradient, DotStaysAMatrixProduct) {
  NodeId node = b.dot(in("x", {B, L, D}), in("w", {N, D}), {D});
  NodeId g = in("g", {B, L, N});
  std::vector<NodeId> to = gradient(b, node, g);
  for (NodeId id : to) EXPECT_EQ(graph.node(id).op, Op::Dot);
  EXPECT_EQ(graph.node(to[0]).attrs.dims, (Dims{N}));
  EXPECT_EQ(graph.node(to[1]).attrs.dims, (Dims{B, L}));
}

TEST_F(Gradient, Layout) {
  DimId two = graph.add_dim("two", 2), five = graph.add_dim("five", 5), D2 = graph.add_dim("D2", 3);
  check_gradients(b.at(in("a", {B, L, D}), L, -1));
  check_gradients(b.at(in("b", {B, L, D}), D, 1));
  check_gradients(b.put(in("c", {B, D}), K, 2));
  check_gradients(b.put(in("d", {B, D}), L, 0));
  check_gradients(b.slice(in("e", {B, D}), D, two, 1));
  check_gradients(b.unslice(in("f", {B, D}), D, K, 1));
  check_gradients(op(Op::Concat, {in("h", {B, D}), in("i", {B, two})}, {five, D, two}));
  check_gradients(op(Op::Stack, {in("j", {B, D}), in("k", {B, D})}, {two}));
  check_gradients(b.shift(in("l", {B, D}), D, 1));
  check_gradients(b.shift(in("m", {B, K}), K, -2));
  check_gradients(op(Op::Rename, {in("n", {B, D})}, {D, D2}));
  check_gradients(op(Op::After, {in("p", {B, D}), ids("first", {B}, 4)}, {}));
  check_gradients(b.broadcast(in("o", {D}), {B, N}));
}

TEST_F(Gradient, Gather) {
  NodeId index = ids("index", {B, L}, 4);
  check_gradients(op(Op::Gather, {in("table", {K, D}), index}, {K}));
  check_gradients(op(Op::Gather, {in("own", {B, L, K}), index}, {K}));
  check_gradients(op(Op::Gather, {in("batch", {B, K, D}), index}, {K}));
}

TEST_F(Gradient, Scan) {
  for (bool reverse : {false, true}) {
    std::string r = reverse ? "r" : "f";
    NodeId decay = in("decay" + r, {L, D, N}), slow = in("slow" + r, {D, N}), x = in("x" + r, {B, L, D});
    NodeId start = in("start" + r, {B, D, N}), shared = in("shared" + r, {D});
    NodeId packed = reverse ? *graph.find("starts") : starts();
    check_gradients(b.scan(decay, x, L, reverse));
    check_gradients(b.scan(slow, x, L, reverse));
    check_gradients(
        b.scan(decay, in("constant" + r, {B, D}), L, reverse, start));  // the input is the same at all steps
    check_gradients(b.scan(decay, x, L, reverse, start, packed));
    check_gradients(b.scan(slow, x, L, reverse, start, packed));
    check_gradients(b.scan(slow, x, L, reverse, shared, packed));
    check_gradients(b.scan(decay, x, L, reverse, {}, packed));
  }
}

TEST_F(Gradient, Delay) {
  NodeId packed = starts();
  for (bool reverse : {false, true}) {
    std::string r = reverse ? "r" : "f";
    NodeId x = in("x" + r, {B, L, D}), start = in("start" + r, {B, D}), shared = in("shared" + r, {D});
    check_gradients(b.delay(x, L, reverse));
    check_gradients(b.delay(x, L, reverse, start));
    check_gradients(b.delay(x, L, reverse, start, packed));
    check_gradients(b.delay(x, L, reverse, shared, packed));
  }
}

TEST_F(Gradient, Window) {
  NodeId packed = starts();
  NodeId x = in("x", {B, L, D}), start = in("start", {B, D, K}), shared = in("shared", {K});
  check_gradients(op(Op::Window, {x}, {L, K}));
  check_gradients(op(Op::Window, {x, start}, {L, K}));
  check_gradients(op(Op::Window, {x, start, packed}, {L, K}));
  check_gradients(op(Op::Window, {x, shared, packed}, {L, K}));
}

TEST_F(Gradient, WindowWithFewerStepsThanTaps) {
  bindings["L"] = 2;
  check_gradients(op(Op::Window, {in("x", {B, L, D}), in("start", {B, D, K})}, {L, K}));
}

TEST_F(Gradient, SingleStep) {
  bindings["L"] = 1;
  NodeId decay = in("decay", {L, D}), x = in("x", {B, L, D}), start = in("start", {B, D});
  check_gradients(b.scan(decay, x, L, false, start));
  check_gradients(b.scan(decay, x, L, true, start));
  check_gradients(b.delay(x, L, false, start));
}

TEST_F(Gradient, NothingFlows) {
  NodeId x = in("x", {D}), y = in("y", {D}), g = in("g", {D});
  for (NodeId to : gradient(b, b.Stop(x), g)) EXPECT_FALSE(to.present());
  for (NodeId to : gradient(b, b.Lt(x, y), g)) EXPECT_FALSE(to.present());
  EXPECT_FALSE(gradient(b, b.Mul(x, ids("i", {D}, 3)), g)[1].present());
}

TEST_F(Gradient, NotDifferentiable) {
  b.hint = "rows";
  NodeId node = op(Op::Scatter, {ids("i", {B}, 3), in("x", {B, N})}, {D});
  expect_contains(message_of<InputError>([&] { gradient(b, node, node); }), "scatter 'rows' is not differentiable");
}

TEST_F(Gradient, SumsAreAsSmallAsTheOperand) {
  NodeId node = b.Mul(in("x", {B, L, D}), in("w", {D}));
  EXPECT_EQ(gradient_dims(node, 1, {B, L, D}), (Dims{D}));
  EXPECT_EQ(gradient_dims(node, 0, {}), (Dims{D}));  // the same along B and L
}

}  // namespace
}  // namespace mambac
