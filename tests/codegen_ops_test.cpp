// Every op of the table alone, compiled, against the float64 evaluator.
#include <gtest/gtest.h>

#include <set>

#include "ir/builder.h"
#include "tests/device_check.h"

namespace mambac::test {
namespace {

/// A graph with one op over inputs, at sizes that fill no vector.
struct Alone {
  Graph graph;
  Bindings bindings{{"B", 2}, {"L", 21}};
  Ranges ranges;
  DimId B, L, D, N, K, P, V;

  Alone() {
    B = graph.add_dim("B", 0);
    L = graph.add_dim("L", 0);
    D = graph.add_dim("D", 19);
    N = graph.add_dim("N", 5);
    K = graph.add_dim("K", 3);
    P = graph.add_dim("P", 19);
    V = graph.add_dim("V", 24);
  }

  NodeId input(const std::string& name, const std::vector<DimId>& dims, const Range& range = {},
               DType dtype = DType::f32) {
    ranges[name] = range;
    return Builder(graph).input(name, {dtype, dims});
  }
  void output(Op op, std::vector<NodeId> operands, Attrs attrs = {}) {
    Builder b(graph);
    operands.resize(std::max(operands.size(), info(op).operands.size()));
    graph.outputs().push_back({"out" + std::to_string(graph.outputs().size()), b.op(op, operands, attrs)});
  }
};

Range range_of(Op op, size_t operand) {
  switch (op) {
    case Op::Log:
    case Op::Sqrt:
    case Op::Rsqrt:
      return {Range::uniform, 0.1, 5};
    case Op::Div:
      return operand == 1 ? Range{Range::uniform, 0.5, 2} : Range{};
    case Op::Eq:
    case Op::Lt:
    case Op::Le:
      return {Range::integer, 0, 2};
    case Op::Select:
      return operand == 0 ? Range{Range::mask, 0, 0.5} : Range{};
    default:
      return {Range::uniform, -4, 4};
  }
}

void pointwise(Alone& a, Op op) {
  const std::vector<std::vector<DimId>> dims{{a.B, a.L, a.D}, {a.D}, {a.B, a.L}};
  std::vector<NodeId> operands;
  for (size_t i = 0; i < info(op).operands.size(); ++i)
    operands.push_back(a.input("x" + std::to_string(i), dims[i], range_of(op, i)));
  a.output(op, operands);
  a.output(op, std::vector<NodeId>(operands.size(), a.input("scalar", {}, range_of(op, 1))));
}

/// The op over inputs; false when the table has an op that this does not know.
bool alone(Alone& a, Op op) {
  const Range mask{Range::mask, 0, 0.2}, decay{Range::uniform, 0.2, 1};
  switch (op) {
    case Op::Const:
      a.output(op, {}, {.dims = {}, .number = 1.5});
      return true;
    case Op::Iota:
      a.output(op, {}, {.dims = {a.D}});
      a.output(op, {}, {.dims = {a.L}});
      return true;
    case Op::Extent:
      a.output(op, {}, {.dims = {a.B, a.L, a.D}});
      return true;
    case Op::Cast:
      a.output(op, {a.input("x", {a.B, a.L, a.D})}, {.dims = {}, .dtype = DType::bf16});
      a.output(op, {a.input("whole", {a.B, a.L, a.D}, {Range::integer, 0, 255})}, {.dims = {}, .dtype = DType::u8});
      return true;
    case Op::Sum:
    case Op::Amax: {
      const NodeId x = a.input("x", {a.B, a.L, a.D, a.N});
      for (const auto& dims :
           std::vector<std::vector<DimId>>{{a.N}, {a.D}, {a.L}, {a.B, a.L}, {a.D, a.N}, {a.B, a.L, a.D, a.N}})
        a.output(op, {x}, {.dims = dims});
      // Outer dimensions that are all constant: tasks enough for sums of groups of slots.
      const NodeId y = a.input("y", {a.V, a.K, a.N, a.D});
      for (const auto& dims : std::vector<std::vector<DimId>>{{a.V, a.N}, {a.V, a.K}}) a.output(op, {y}, {.dims = dims});
      return true;
    }
    case Op::Dot: {
      const NodeId x = a.input("x", {a.B, a.L, a.D}), w = a.input("w", {a.V, a.D}),
                   small = a.input("small", {a.D, a.N});
      a.output(op, {x, w}, {.dims = {a.D}});
      a.output(op, {small, x}, {.dims = {a.D}});
      a.output(op, {x, a.input("y", {a.B, a.L, a.V})}, {.dims = {a.B, a.L}});
      a.output(op, {x, x}, {.dims = {a.B, a.L, a.D}});
      a.output(op, {x, a.input("z", {a.L, a.D, a.N})}, {.dims = {a.L}});
      return true;
    }
    case Op::At: {
      const NodeId x = a.input("x", {a.B, a.L, a.D, a.N});
      a.output(op, {x}, {.dims = {a.N}, .integer = 2});
      a.output(op, {x}, {.dims = {a.D}, .integer = -3});
      a.output(op, {x}, {.dims = {a.L}, .integer = -1});
      a.output(op, {x}, {.dims = {a.B}, .integer = 0});
      const NodeId bytes = a.input("bytes", {a.B, a.L}, {Range::integer, 0, 255}, DType::u8);
      a.output(op, {bytes}, {.dims = {a.L}, .integer = -1});
      return true;
    }
    case Op::Put:
      for (DimId d : {a.D, a.L, a.N})
        a.output(op, {a.input("x" + a.graph.dim(d).name, {a.B, a.V})}, {.dims = {d}, .integer = 0});
      return true;
    case Op::Slice:
      a.output(op, {a.input("x", {a.B, a.L, a.D})}, {.dims = {a.D, a.N}, .integer = 7});
      a.output(op, {a.input("y", {a.V, a.D})}, {.dims = {a.V, a.K}, .integer = 21});
      return true;
    case Op::Unslice:
      a.output(op, {a.input("x", {a.B, a.L, a.N})}, {.dims = {a.N, a.D}, .integer = 7});
      a.output(op, {a.input("y", {a.K, a.D})}, {.dims = {a.K, a.V}, .integer = 21});
      return true;
    case Op::Concat:
      a.output(op, {a.input("x", {a.B, a.L, a.D}), a.input("y", {a.B, a.L, a.N})}, {.dims = {a.V, a.D, a.N}});
      a.output(op, {a.input("z", {a.N, a.K}), a.input("w", {a.D, a.K})}, {.dims = {a.V, a.N, a.D}});
      return true;
    case Op::Stack: {
      const DimId two = a.graph.add_dim("T", 2);
      a.output(op, {a.input("x", {a.B, a.L, a.D}), a.input("y", {a.B, a.L, a.D})}, {.dims = {two}});
      return true;
    }
    case Op::Shift: {
      const NodeId x = a.input("x", {a.B, a.L, a.D, a.N});
      for (int64_t by : {1, -2, 5}) a.output(op, {x}, {.dims = {a.N}, .integer = by});
      for (int64_t by : {1, -20})
        a.output(op, {a.input("y" + std::to_string(by), {a.B, a.D})}, {.dims = {a.D}, .integer = by});
      return true;
    }
    case Op::Rename:
      a.output(op, {a.input("x", {a.B, a.L, a.D})}, {.dims = {a.D, a.P}});
      return true;
    case Op::After: {
      const NodeId x = a.input("x", {a.B, a.L, a.D}), y = a.input("y", {a.B, a.L, a.D});
      Builder b(a.graph);
      const NodeId later = b.sum(y, {a.D});
      a.output(op, {b.Exp(x), later});
      a.output(op, {x, later});
      return true;
    }
    case Op::Broadcast:
      a.output(op, {a.input("x", {a.L, a.D})}, {.dims = {a.B, a.N}});
      a.output(op, {a.input("y", {})}, {.dims = {a.D, a.L}});
      return true;
    case Op::Gather: {
      const NodeId index = a.input("index", {a.B, a.L}, {Range::integer, 0, 23}, DType::i32);
      a.output(op, {a.input("table", {a.V, a.D}), index}, {.dims = {a.V}});
      a.output(op, {a.input("across", {a.N, a.V}), index}, {.dims = {a.V}});
      return true;
    }
    case Op::Scatter: {
      const NodeId index = a.input("index", {a.B, a.L}, {Range::integer, 0, 23}, DType::u8);
      a.output(op, {index, a.input("x", {a.B, a.L, a.D})}, {.dims = {a.V}});
      a.output(op, {index, a.input("y", {a.B, a.N})}, {.dims = {a.V}});
      return true;
    }
    case Op::Scan:
      for (bool reverse : {false, true}) {
        const std::string k = reverse ? "r" : "f";
        const NodeId x = a.input("x" + k, {a.B, a.L, a.D, a.N}), y = a.input("y" + k, {a.B, a.L, a.D});
        a.output(op, {a.input("a" + k, {a.D, a.N}, decay), x}, {.dims = {a.L}, .reverse = reverse});
        a.output(op, {a.input("b" + k, {a.B, a.L, a.D}, decay), y, a.input("h" + k, {a.B, a.D})},
                 {.dims = {a.L}, .reverse = reverse});
        a.output(op, {a.input("c" + k, {}, decay), x, a.input("g" + k, {a.N}), a.input("s" + k, {a.B, a.L}, mask)},
                 {.dims = {a.L}, .reverse = reverse});
      }
      return true;
    case Op::Delay:
      for (bool reverse : {false, true}) {
        const std::string k = reverse ? "r" : "f";
        const NodeId x = a.input("x" + k, {a.B, a.L, a.D});
        a.output(op, {x}, {.dims = {a.L}, .reverse = reverse});
        a.output(op, {x, a.input("h" + k, {a.B, a.D}), a.input("s" + k, {a.L}, mask)},
                 {.dims = {a.L}, .reverse = reverse});
      }
      return true;
    case Op::Window: {
      const NodeId x = a.input("x", {a.B, a.L, a.D});
      a.output(op, {x}, {.dims = {a.L, a.K}});
      a.output(op, {x, a.input("h", {a.B, a.D, a.K}), a.input("s", {a.B, a.L}, mask)}, {.dims = {a.L, a.K}});
      a.output(op, {x}, {.dims = {a.L, a.graph.add_dim("one", 1)}});
      return true;
    }
    case Op::Overlap: {
      const NodeId x = a.input("x", {a.B, a.L, a.D, a.K});
      a.output(op, {x}, {.dims = {a.L, a.K}});
      a.output(op, {x, a.input("s", {a.L}, mask)}, {.dims = {a.L, a.K}});
      const DimId one = a.graph.add_dim("one", 1);
      a.output(op, {a.input("y", {a.B, a.L, a.D, one})}, {.dims = {a.L, one}});
      return true;
    }
    default:
      break;
  }
  if (!is_pointwise(op)) return false;
  pointwise(a, op);
  return true;
}

class EveryOp : public testing::TestWithParam<Op> {};

TEST_P(EveryOp, AgreesWithTheEvaluator) {
  for (int64_t length : {21, 1, 130}) {
    Alone a;
    a.bindings["L"] = length;
    ASSERT_TRUE(alone(a, GetParam())) << "the test does not know this op";
    const Arrays values = draw_values(a.graph, a.bindings, a.ranges, 3);
    EXPECT_EQ(check_on_cpu(a.graph, a.bindings, values, {.bounds = length < 100}), "") << "L = " << length;
  }
}

/// All of the table but what has no computation, and what fusion writes for itself.
std::vector<Op> ops_alone() {
  std::vector<Op> ops;
  for (const OpInfo& row : op_table())
    if (row.op != Op::Input && row.op != Op::Param && row.op != Op::ChunkStarts && row.op != Op::PartDot)
      ops.push_back(row.op);
  return ops;
}

INSTANTIATE_TEST_SUITE_P(Table, EveryOp, testing::ValuesIn(ops_alone()),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace mambac::test
