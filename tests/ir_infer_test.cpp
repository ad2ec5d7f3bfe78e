#include "tests/ir_support.h"

namespace mambac {
namespace {

class Infer : public ::testing::Test, public Bench {
 protected:
  std::string type_of(NodeId id) { return type_text(graph, graph.node(id).type); }
  NodeId bf16(Dims dims) { return b.input("h", {DType::bf16, std::move(dims)}); }
  NodeId op(Op o, std::vector<NodeId> operands, Dims dims, int64_t integer = 0) {
    return b.op(o, std::move(operands), {.dims = std::move(dims), .integer = integer});
  }
  template <typename Action>
  void expect_error(const Action& action, std::vector<std::string> parts) {
    std::string message = message_of<InputError>(action);
    for (const std::string& part : parts) expect_contains(message, part);
  }
};

TEST_F(Infer, PointwiseIsFreeFirstThenFixedByAppearance) {
  EXPECT_EQ(type_of(b.Add(in("x", {N, L}), in("y", {D, B}))), "f32[B, L, N, D]");
  EXPECT_EQ(type_of(b.Mul(bf16({B, D}), b.constant(2))), "f32[B, D]");
  EXPECT_EQ(type_of(b.cast(in("z", {D}), DType::f16)), "f16[D]");
  EXPECT_EQ(type_of(b.cast(in("whole", {D}), DType::u8)), "u8[D]");
  EXPECT_EQ(type_of(op(Op::Iota, {}, {L})), "f32[L]");
  EXPECT_EQ(type_of(op(Op::Extent, {}, {L, D})), "f32[]");
}

TEST_F(Infer, DotAndReductions) {
  NodeId x = in("x", {B, L, D}), w = in("w", {N, D});
  EXPECT_EQ(type_of(b.dot(x, w, {D})), "f32[B, L, N]");
  EXPECT_EQ(type_of(b.op(Op::Dot, {x, w}, {.dims = {D}, .dtype = DType::bf16})), "bf16[B, L, N]");
  EXPECT_EQ(type_of(b.dot(x, in("y", {L, B, D}), {B, L})), "f32[D]");
  EXPECT_EQ(type_of(b.sum(bf16({B, L, D}), {B, D})), "f32[L]");
  expect_error([&] { b.dot(x, w, {N}); }, {"dot", "operand 'x'", "f32[B, L, D]", "N"});
  expect_error([&] { b.sum(x, {N}); }, {"sum", "f32[B, L, D]", "N"});
  expect_error([&] { b.sum(x, {D, D}); }, {"D", "twice"});
  expect_error([&] { b.op(Op::Dot, {x, w}, {.dims = {D}, .dtype = DType::u8}); }, {"u8", "bf16"});
  expect_error([&] { b.op(Op::Sum, {x}); }, {"found 0 dimensions", "at least 1"});
}

TEST_F(Infer, PartsOfADot) {
  const DimId channels = graph.add_dim("channels", 6), parts = graph.add_dim("parts", 2), odd = graph.add_dim("odd", 4);
  const NodeId x = in("x", {B, channels}), w = in("w", {N, channels});
  EXPECT_EQ(type_of(op(Op::PartDot, {x, w}, {channels, parts})), "f32[B, parts, N]");
  EXPECT_EQ(type_of(op(Op::PartDot, {w, x}, {channels, parts})), "f32[B, parts, N]");
  expect_error([&] { op(Op::PartDot, {x, w}, {channels, odd}); }, {"part_dot", "odd = 4", "channels = 6", "equal"});
  expect_error([&] { op(Op::PartDot, {x, w}, {N, parts}); }, {"operand 'x'", "f32[B, channels]", "N"});
  expect_error([&] { op(Op::PartDot, {x, w}, {channels, L}); }, {"L", "free"});
}

TEST_F(Infer, Layout) {
  DimId two = graph.add_dim("two", 2), six = graph.add_dim("six", 6);
  NodeId x = bf16({B, L, D});
  EXPECT_EQ(type_of(b.at(x, L, -1)), "bf16[B, D]");
  EXPECT_EQ(type_of(b.put(x, K, 2)), "bf16[B, L, K, D]");
  EXPECT_EQ(type_of(b.put(in("q", {B, D}), L, 0)), "f32[B, L, D]");
  EXPECT_EQ(type_of(b.slice(x, D, two, 1)), "bf16[B, L, two]");
  EXPECT_EQ(type_of(b.unslice(x, D, K, 1)), "bf16[B, L, K]");
  EXPECT_EQ(type_of(op(Op::Concat, {x, x}, {six, D, D})), "bf16[B, L, six]");
  EXPECT_EQ(type_of(op(Op::Stack, {x, x}, {N})), "bf16[B, L, N, D]");
  EXPECT_EQ(type_of(b.shift(x, D, 1)), "bf16[B, L, D]");
  EXPECT_EQ(type_of(op(Op::Rename, {x}, {L, M})), "bf16[B, M, D]");
  EXPECT_EQ(type_of(op(Op::After, {x, in("first", {B, L})}, {})), "bf16[B, L, D]");
  EXPECT_EQ(type_of(b.broadcast(in("z", {L, D}), {N, B})), "f32[B, L, N, D]");
}

TEST_F(Infer, LayoutErrors) {
  DimId two = graph.add_dim("two", 2), six = graph.add_dim("six", 6);
  NodeId x = in("x", {B, L, D});
  expect_error([&] { b.at(x, N, 0); }, {"at", "f32[B, L, D]", "N"});
  expect_error([&] { b.at(x, D, 3); }, {"index 3", "D = 3", "-3 to 2"});
  expect_error([&] { b.at(x, L, 1); }, {"index 1", "free", "first or last"});
  expect_error([&] { b.put(x, D, 0); }, {"D is new"});
  expect_error([&] { b.slice(x, D, two, 2); }, {"2 to 4", "D = 3"});
  expect_error([&] { b.slice(x, D, two, -1); }, {"-1 to 1"});
  expect_error([&] { b.slice(x, L, two, 0); }, {"L is free"});
  expect_error([&] { op(Op::Concat, {x, x}, {six, D}); }, {"found 2 dimensions", "expected 3"});
  expect_error([&] { op(Op::Concat, {x, x, x}, {six, D, D, D}); }, {"9 places", "six = 6"});
  expect_error([&] { op(Op::Concat, {x, in("y", {B, D})}, {six, D, D}); }, {"operand 2", "f32[B, D]", "f32[B, L, D]"});
  expect_error([&] { op(Op::Stack, {x}, {N}); }, {"found 1 operands", "N = 2"});
  expect_error([&] { op(Op::Stack, {x, in("z", {D})}, {N}); }, {"operand 2", "f32[D]", "f32[B, L, D]"});
  expect_error([&] { b.shift(x, L, 1); }, {"L is free"});
  expect_error([&] { op(Op::Rename, {x}, {D, K}); }, {"D = 3", "K = 4"});
  expect_error([&] { b.broadcast(x, {D}); }, {"D is new"});
  expect_error([&] { b.cast(x, DType::i32); }, {"i32", "bf16"});
}

TEST_F(Infer, Index) {
  NodeId table = bf16({K, D}), id = ids("id", {B, L}, 4);
  EXPECT_EQ(type_of(op(Op::Gather, {table, id}, {K})), "bf16[B, L, D]");
  EXPECT_EQ(type_of(op(Op::Gather, {in("p", {B, L, K}), id}, {K})), "f32[B, L]");
  EXPECT_EQ(type_of(op(Op::Scatter, {id, in("x", {B, L, D})}, {K})), "f32[K, D]");
  expect_error([&] { op(Op::Gather, {table, in("y", {B, L})}, {K}); }, {"operand 'index'", "f32[B, L]", "i32"});
  expect_error([&] { op(Op::Gather, {table, id}, {N}); }, {"operand 'table'", "N"});
}

TEST_F(Infer, Directional) {
  NodeId decay = in("a", {D, N}), x = in("x", {B, L, D});
  NodeId packed = starts();
  NodeId h = b.scan(decay, x, L, false, in("s", {D}), packed);
  EXPECT_EQ(type_of(h), "f32[B, L, D, N]");
  EXPECT_EQ(type_of(b.delay(bf16({B, L, D}), L)), "bf16[B, L, D]");
  NodeId w = op(Op::Window, {x, {}, {}, {}}, {L, K});
  EXPECT_EQ(type_of(w), "f32[B, L, D, K]");
  EXPECT_EQ(type_of(op(Op::Overlap, {w, packed}, {L, K})), "f32[B, L, D, K]");
  NodeId entered = op(Op::ChunkStarts, {h, operand(graph.node(h), "start")}, {L, tiles});
  EXPECT_EQ(type_of(entered), "f32[B, L/3, D, N]");
  EXPECT_EQ(type_of(op(Op::Scan, {decay, x, {}, {}, entered}, {L})), "f32[B, L, D, N]");
}

TEST_F(Infer, DirectionalErrors) {
  NodeId decay = in("a", {D, N}), x = in("x", {B, L, D}), s = in("s", {B, L});
  NodeId h = b.scan(decay, x, L, false, in("start", {D}));
  expect_error([&] { b.scan(decay, in("u", {D}), L); }, {"scan", "'decay'", "f32[D, N]", "'input'", "L"});
  expect_error([&] { b.scan(decay, x, L, false, s); }, {"'start'", "f32[B, L]", "[B, D, N]"});
  expect_error([&] { b.scan(decay, x, L, false, {}, in("d", {L, D})); }, {"'starts'", "f32[L, D]"});
  expect_error([&] { b.scan(decay, x, L, false, {}, in("e", {B})); }, {"'starts'", "f32[B]"});
  expect_error([&] { op(Op::Scan, {decay, x, {}, {}, x}, {L}); }, {"'resume'", "f32[B, L, D]", "tiles of L"});
  expect_error([&] { b.delay(decay, L); }, {"delay", "f32[D, N]", "L"});
  expect_error([&] { op(Op::Window, {x}, {L, D}); }, {"D is new"});
  expect_error([&] { op(Op::Window, {x}, {L}); }, {"found 1 dimensions", "expected 2"});
  expect_error([&] { op(Op::ChunkStarts, {x, {}}, {L, tiles}); }, {"the input 'x'", "scan"});
  expect_error([&] { op(Op::ChunkStarts, {h, {}}, {L, tiles}); }, {"start"});
  expect_error([&] { op(Op::ChunkStarts, {h, {}}, {L, K}); }, {"dimension K", "L/32"});
}

TEST_F(Infer, ErrorsKnowTheirPlace) {
  b.location = {std::make_shared<std::string>("model.mambac"), 3, 7};
  b.hint = "y";
  expect_error([&] { b.delay(b.constant(1), L); }, {"model.mambac:3:7: delay 'y': operand 'x' is f32[]"});
  expect_error([&] { b.op(Op::Add, {b.constant(1)}); }, {"operand 'y' is missing"});
  expect_error([&] { b.op(Op::Neg, {b.constant(1), b.constant(1)}); }, {"found 2 operands, expected 1"});
}

}  // namespace
}  // namespace mambac
