#include <cmath>

#include "tests/ir_support.h"

namespace mambac {
namespace {

class Eval : public ::testing::Test, public Bench {
 protected:
  NodeId op(Op o, std::vector<NodeId> operands, Dims dims, int64_t integer = 0) {
    return b.op(o, std::move(operands), {.dims = std::move(dims), .integer = integer});
  }
  void expect_unary(Op o, const std::function<double(double)>& formula) {
    std::vector<double> x{-1.5, 0.25, 3};
    bool positive = o == Op::Log || o == Op::Sqrt || o == Op::Rsqrt;
    if (positive) x[0] = 1.5;
    std::vector<double> expected;
    for (double v : x) expected.push_back(formula(v));
    SCOPED_TRACE(name_of(o));
    Bench t;
    expect_near(t.run(t.b.op(o, {t.f32("x", {t.D}, x)})).data, expected);
  }
  void expect_binary(Op o, const std::function<double(double, double)>& formula) {
    std::vector<double> x{-1, 2, 0.5}, y{2, 2, -3}, expected;
    for (int i = 0; i < 3; ++i) expected.push_back(formula(x[i], y[i]));
    SCOPED_TRACE(name_of(o));
    Bench t;
    expect_near(t.run(t.b.op(o, {t.f32("x", {t.D}, x), t.f32("y", {t.D}, y)})).data, expected);
  }
};

TEST_F(Eval, Unary) {
  expect_unary(Op::Neg, [](double x) { return -x; });
  expect_unary(Op::Abs, [](double x) { return std::fabs(x); });
  expect_unary(Op::Exp, [](double x) { return std::exp(x); });
  expect_unary(Op::Log, [](double x) { return std::log(x); });
  expect_unary(Op::Sqrt, [](double x) { return std::sqrt(x); });
  expect_unary(Op::Rsqrt, [](double x) { return std::pow(x, -0.5); });
  expect_unary(Op::Sigmoid, [](double x) { return std::exp(x) / (1 + std::exp(x)); });
  expect_unary(Op::Tanh, [](double x) { return std::tanh(x); });
  expect_unary(Op::Softplus, [](double x) { return std::log(1 + std::exp(x)); });
  expect_unary(Op::Sin, [](double x) { return std::sin(x); });
  expect_unary(Op::Cos, [](double x) { return std::cos(x); });
  expect_unary(Op::Stop, [](double x) { return x; });
}

TEST_F(Eval, PartsOfADotAddUpToIt) {
  const DimId channels = graph.add_dim("channels", 6), parts = graph.add_dim("parts", 2);
  const NodeId x = f32("x", {channels}, {1, 2, 3, 4, 5, 6}), w = f32("w", {channels}, {1, 0, 2, 1, 1, -1});
  const NodeId of_parts = op(Op::PartDot, {x, w}, {channels, parts});
  expect_near(run(of_parts).data, {7, 3});
  expect_near(run(b.sum(of_parts, {parts})).data, run(b.dot(x, w, {channels})).data);
}

TEST_F(Eval, SoftplusDoesNotOverflow) {
  expect_near(run(b.Softplus(f32("x", {D}, {-800, 0, 800}))).data, {0, std::log(2.0), 800});
}

TEST_F(Eval, Binary) {
  expect_binary(Op::Add, [](double x, double y) { return x + y; });
  expect_binary(Op::Sub, [](double x, double y) { return x - y; });
  expect_binary(Op::Mul, [](double x, double y) { return x * y; });
  expect_binary(Op::Div, [](double x, double y) { return x / y; });
  expect_binary(Op::Max, [](double x, double y) { return std::max(x, y); });
  expect_binary(Op::Min, [](double x, double y) { return std::min(x, y); });
  expect_binary(Op::Lt, [](double x, double y) { return x < y ? 1 : 0; });
  expect_binary(Op::Le, [](double x, double y) { return x <= y ? 1 : 0; });
  expect_binary(Op::Eq, [](double x, double y) { return x == y ? 1 : 0; });
}

TEST_F(Eval, SelectAndBroadcastByName) {
  NodeId c = f32("c", {N}, {0, -2}), x = f32("x", {D}, {1, 2, 3}), y = f32("y", {}, {9});
  EXPECT_EQ(run(b.Select(c, x, y)).data, (std::vector<double>{9, 9, 9, 1, 2, 3}));  // [N, D]
  NodeId p = f32("p", {N, D}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(run(b.Add(f32("q", {D, N}, {10, 20, 30, 40, 50, 60}), p)).data,
            (std::vector<double>{11, 24, 32, 45, 53, 66}));  // [D, N]
}

TEST_F(Eval, Sources) {
  EXPECT_EQ(run(b.constant(2.5)).data, std::vector<double>{2.5});
  EXPECT_EQ(run(op(Op::Iota, {}, {L})).data, (std::vector<double>{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(run(op(Op::Extent, {}, {L, D})).data, std::vector<double>{21});
}

TEST_F(Eval, Reductions) {
  NodeId x = f32("x", {D, N}, {1, -2, 3, -4, 5, -6});
  EXPECT_EQ(run(b.sum(x, {D})).data, (std::vector<double>{9, -12}));
  EXPECT_EQ(run(b.sum(x, {N})).data, (std::vector<double>{-1, -1, -1}));
  EXPECT_EQ(run(b.sum(x, {D, N})).data, std::vector<double>{-3});
  EXPECT_EQ(run(op(Op::Amax, {x}, {D})).data, (std::vector<double>{5, -2}));
}

TEST_F(Eval, DotWithBatchDimension) {
  NodeId x = f32("x", {N, D}, {1, 2, 3, 4, 5, 6}), y = f32("y", {D, N}, {1, 0, 1, 1, 0, 2});
  EXPECT_EQ(run(b.dot(x, y, {D})).data, (std::vector<double>{1 + 2, 5 + 12}));
  EXPECT_EQ(run(b.dot(x, y, {N})).data, (std::vector<double>{1, 2 + 5, 12}));
  EXPECT_EQ(run(b.dot(x, f32("z", {D, K}, {1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1}), {D})).data,
            (std::vector<double>{1, 2, 3, 6, 4, 5, 6, 15}));
}

TEST_F(Eval, Layout) {
  DimId two = graph.add_dim("two", 2), five = graph.add_dim("five", 5), D2 = graph.add_dim("D2", 3);
  NodeId x = f32("x", {N, D}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(run(b.at(x, D, 1)).data, (std::vector<double>{2, 5}));
  EXPECT_EQ(run(b.at(x, D, -1)).data, (std::vector<double>{3, 6}));
  EXPECT_EQ(run(b.at(x, N, 0)).data, (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(run(b.put(b.at(x, N, 1), N, -1)).data, (std::vector<double>{0, 0, 0, 4, 5, 6}));
  EXPECT_EQ(run(b.slice(x, D, two, 1)).data, (std::vector<double>{2, 3, 5, 6}));
  EXPECT_EQ(run(b.unslice(x, D, K, 1)).data, (std::vector<double>{0, 1, 2, 3, 0, 4, 5, 6}));
  NodeId y = f32("y", {two, N}, {7, 8, 9, 10});
  EXPECT_EQ(run(op(Op::Concat, {x, y}, {five, D, two})).data, (std::vector<double>{1, 2, 3, 7, 9, 4, 5, 6, 8, 10}));
  EXPECT_EQ(run(op(Op::Stack, {b.at(x, N, 1), b.at(x, N, 0)}, {two})).data, (std::vector<double>{4, 5, 6, 1, 2, 3}));
  EXPECT_EQ(run(b.shift(x, D, 1)).data, (std::vector<double>{0, 1, 2, 0, 4, 5}));
  EXPECT_EQ(run(b.shift(x, D, -2)).data, (std::vector<double>{3, 0, 0, 6, 0, 0}));
  EXPECT_EQ(run(op(Op::Rename, {x}, {D, D2})).data, (std::vector<double>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(run(b.broadcast(f32("z", {D}, {1, 2, 3}), {N})).data, (std::vector<double>{1, 2, 3, 1, 2, 3}));
}

TEST_F(Eval, RenameOfFreeDimensionsChecksSizes) {
  bindings["M"] = 6;
  NodeId y = op(Op::Rename, {in("x", {L})}, {L, M});
  expect_contains(message_of<InputError>([&] { run(y); }), "size 7 and M of size 6");
}

TEST_F(Eval, GatherAndScatter) {
  NodeId table = f32("t", {D, N}, {1, 2, 3, 4, 5, 6});
  NodeId index = given("i", {DType::u8, {B}}, {2, 0});
  EXPECT_EQ(run(op(Op::Gather, {table, index}, {D})).data, (std::vector<double>{5, 6, 1, 2}));
  NodeId own = f32("o", {B, D}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(run(op(Op::Gather, {own, index}, {D})).data, (std::vector<double>{3, 4}));
  NodeId twice = given("j", {DType::i32, {B}}, {1, 1});
  NodeId x = f32("x", {B, N}, {1, 2, 3, 4});
  EXPECT_EQ(run(op(Op::Scatter, {twice, x}, {D})).data, (std::vector<double>{0, 0, 4, 6, 0, 0}));
  NodeId outside = given("k", {DType::i32, {B}}, {1, 3});
  NodeId bad = op(Op::Gather, {table, outside}, {D});
  expect_contains(message_of<InputError>([&] { run(bad); }), "found index 3, expected 0 to 2");
}

TEST_F(Eval, RoundsStorageOnlyWhenAsked) {
  NodeId x = f32("x", {D}, {1 + 0x1p-8, 1 + 3 * 0x1p-8, 70000});
  NodeId narrow = b.cast(x, DType::bf16);
  EXPECT_EQ(run(narrow).data[0], 1 + 0x1p-8);
  Array rounded = run(narrow, {.round_storage = true});
  EXPECT_EQ(rounded.data[0], 1);  // a tie goes to the even neighbour
  EXPECT_EQ(rounded.data[1], 1 + 0x1p-6);
  EXPECT_EQ(rounded.data[2], 70144);
  EXPECT_TRUE(std::isinf(run(b.cast(x, DType::f16), {.round_storage = true}).data[2]));
  EXPECT_EQ(round_to(DType::f16, 0x1p-24), 0x1p-24);  // the smallest subnormal
  EXPECT_EQ(round_to(DType::f16, 0x1p-26), 0);
  EXPECT_EQ(round_to(DType::f16, 65519), 65504);
  EXPECT_EQ(round_to(DType::f32, 0.1), static_cast<double>(0.1f));
}

TEST_F(Eval, InputsAreChecked) {
  NodeId y = b.Exp(in("x", {L, D}));
  values.erase("x");
  expect_contains(message_of<InputError>([&] { run(y); }), "input 'x' is missing; expected f32[L, D] of shape [7, 3]");
  values["x"] = {{3, 7}, std::vector<double>(21)};
  expect_contains(message_of<InputError>([&] { run(y); }), "found shape [3, 7] with 21 elements, expected f32[L, D]");
}

}  // namespace
}  // namespace mambac
