// Loop IR: integer expressions, text and the verifier.
#include <gtest/gtest.h>

#include <set>

#include "codegen/loop_ir.h"
#include "codegen/loop_verify.h"
#include "codegen/loop_writer.h"
#include "ir/error.h"

using namespace mambac;
using namespace mambac::loop;

namespace {

Int variable(int index) { return std::make_shared<IntNode>(IntNode{IntOp::Var, index, nullptr, nullptr}); }
Int size(int index) { return std::make_shared<IntNode>(IntNode{IntOp::Size, index, nullptr, nullptr}); }
/// In C's syntax, of the sizes B and L.
std::string text(const Int& a) {
  class Writer : public LoopWriter {
   public:
    using LoopWriter::LoopWriter;

   private:
    std::string size(size_t number) const override { return number == 0 ? "B" : "L"; }
  };
  std::string unused;
  return Writer(unused).str(a);
}

TEST(LoopInt, FoldsConstants) {
  const Int i = variable(0);
  EXPECT_EQ(text((i + 1) + 2), "i0 + 3");
  EXPECT_EQ(text(constant(4) + i), "i0 + 4");
  EXPECT_EQ(text((i + 3) - 3), "i0");
  EXPECT_EQ(text((i * 4) * 8), "i0 * 32");
  EXPECT_EQ(text(i * 0), "0");
  EXPECT_EQ(text(i % 1), "0");
  EXPECT_EQ(text(i - i), "0");
  EXPECT_EQ(text(min(constant(3), constant(5)) + max(constant(3), constant(5))), "8");
  EXPECT_EQ(text(constant(17) / 5 + constant(17) % 5), "5");
  EXPECT_EQ(text(less(constant(3), constant(5)) + less(i, i)), "1");
}

TEST(LoopInt, ParenthesesWhereNeeded) {
  const Int i = variable(0), l = size(1);
  EXPECT_EQ(text((i + 1) * l), "(i0 + 1) * L");
  EXPECT_EQ(text(i * l + 1), "i0 * L + 1");
  EXPECT_EQ(text(l - (i - 2)), "L - (i0 - 2)");
  EXPECT_EQ(text(l / (i * 2)), "L / (i0 * 2)");
  EXPECT_EQ(text(l / i % 4), "L / i0 % 4");
  EXPECT_EQ(text(min(l - i, constant(16))), "min(L - i0, 16)");
  EXPECT_EQ(text(i + less(i + 1, l) * 2), "i0 + (i0 + 1 < L) * 2");
}

TEST(LoopInt, Evaluates) {
  const Int i = variable(0), l = size(1);
  EXPECT_EQ(evaluate(min((l + 15) / 16 - i, constant(7)) * 3 % 5, {2}, {9, 100}), 0);
  EXPECT_EQ(evaluate(max(i - l, constant(-3)), {2}, {9, 100}), -3);
  EXPECT_EQ(evaluate(less(i, l) * 2 + less(l, i), {2}, {9, 100}), 2);
  EXPECT_THROW(evaluate(l / i, {0}, {9, 100}), InternalError);
}

TEST(LoopInt, ScratchIsAligned) {
  Stage stage;
  stage.arrays = {{"a", true, 3}, {"b", false, 5, Space::shared}, {"c", true, 100, Space::registers}};
  EXPECT_EQ(plan_scratch(stage, 4).offsets, (std::vector<int64_t>{0, 64, 0}));
  EXPECT_EQ(plan_scratch(stage, 16).offsets, (std::vector<int64_t>{0, 192, 0}));
  EXPECT_EQ(plan_scratch(stage, 16).bytes, 192 + 5 * 4);
}

/// Such that elements of the same number, which a kernel comes to together, do not share a set of a cache.
TEST(LoopInt, LargeArraysBeginAtDifferentPlacesOfTheirPages) {
  Stage stage;
  stage.arrays = {{"a", true, 512}, {"b", true, 512}, {"c", true, 512}};
  const ScratchPlan plan = plan_scratch(stage, 16);
  std::set<int64_t> places;
  for (size_t i = 0; i < 3; ++i) {
    places.insert(plan.offsets[i] % 4096);
    const int64_t end = i < 2 ? plan.offsets[i + 1] : plan.bytes;
    EXPECT_GE(end - plan.offsets[i], 512 * 64);
    EXPECT_EQ(plan.offsets[i] % 64, 0);
  }
  EXPECT_EQ(places.size(), 3U);
}

/// y[t] = sum over the lanes of x[t], doubled.
Kernel small_kernel() {
  Kernel kernel;
  kernel.name = "row sums";
  kernel.sizes = {"B", "L"};
  kernel.buffers = {{"x", DType::bf16, false}, {"y", DType::f32, true}};
  Stage stage;
  stage.name = "rows";
  stage.tasks = size(0);
  StageBuilder b(stage);
  const int sum = b.array("sum", 1, true, true);
  b.store_array(sum, constant(0), b.number(0.1));
  const Int i = b.open_for(constant(0), size(1), 16);
  b.comment("the row's vectors");
  const Value x = b.load(0, b.task() * size(1) + i, constant(1), min(constant(16), size(1) - i));
  b.store_array(sum, constant(0), b.apply(Op::Add, {b.load_array(sum, constant(0)), x}));
  b.close();
  b.open_if(b.task(), constant(3));
  b.store(1, b.task(), b.reduce(Op::Sum, b.load_array(sum, constant(0))));
  b.open_else();
  b.store(1, b.task(), b.index(b.task()));
  b.close();
  kernel.stages.push_back(std::move(stage));
  return kernel;
}

TEST(LoopPrint, IsReadable) {
  EXPECT_EQ(print(small_kernel()), R"(kernel row sums  # )" + Schedule().str() + R"(
  size B
  size L
  buffer x: bf16
  buffer y: f32 written
  stage rows: for i0 < B {
    array sum: lanes[1] registers
    v0 = 0.1
    sum[0] = v0
    for i1 = 0; i1 < L; i1 += 16 {
      # the row's vectors
      v1 = x[i0 * L + i1 + lane] valid min(16, L - i1)
      v2 = sum[0]
      v3 = add(v2, v1)
      sum[0] = v3
    }
    if i0 < 3 {
      v4 = sum[0]
      v5 = sum over lanes(v4)
      y[i0] = v5
    } else {
      v6 = f32(i0)
      y[i0] = v6
    }
  }
)");
}

TEST(LoopPrint, OfLanesThatShareAChannel) {
  Kernel kernel;
  kernel.buffers = {{"x", DType::f32}, {"y", DType::f32, true}};
  Stage& stage = kernel.stages.emplace_back();
  stage.tasks = constant(1);
  stage.pieces = 2;
  StageBuilder b(stage);
  const Value x = b.load(0, piece(2), constant(2));
  b.store(1, constant(0), b.scan_pieces(x, x).b_all, nullptr, nullptr, 0, piece(2), constant(1));
  EXPECT_NO_THROW(verify(kernel)) << "one lane stores to a place without lanes";
  const std::string text = print(kernel);
  EXPECT_NE(text.find("v1..v4 = maps over pieces(v0, v0)"), std::string::npos) << text;
}

TEST(LoopVerify, AcceptsAGoodKernel) { EXPECT_NO_THROW(verify(small_kernel())); }

void expect_rejected(const Kernel& kernel, const std::string& part) {
  try {
    verify(kernel);
    FAIL() << "accepted, though: " << part;
  } catch (const InternalError& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(LoopVerify, RejectsABadKernel) {
  auto with = [](auto change) {
    Kernel kernel = small_kernel();
    change(kernel, kernel.stages[0].body);
    return kernel;
  };
  expect_rejected(with([](Kernel&, Block& b) { b[2].body[0].buffer = 2; }), "buffer 2 does not exist");
  expect_rejected(with([](Kernel&, Block& b) { b[1].buffer = 1; }), "array 1 does not exist");
  expect_rejected(with([](Kernel&, Block& b) { b[1].offset = constant(1); }), "element 1 was asked for");
  expect_rejected(with([](Kernel&, Block& b) { b[1].args[0] = 1; }), "v1 is used where it is not defined");
  expect_rejected(with([](Kernel&, Block& b) { b[3].body[1].args[0] = 1; }), "v1 is used where it is not defined");
  expect_rejected(with([](Kernel&, Block& b) { b[2].body[1].result = 0; }), "v0 is defined twice");
  expect_rejected(with([](Kernel&, Block& b) { b[2].step = 0; }), "step 0");
  expect_rejected(with([](Kernel&, Block& b) { b[2].var = 0; }), "i0 is out of range or in use");
  expect_rejected(with([](Kernel&, Block& b) { b[3].begin = variable(1); }), "i1 (a condition) is used outside");
  expect_rejected(with([](Kernel&, Block& b) { b[3].end = size(2); }), "size 2 (a condition) does not exist");
  expect_rejected(with([](Kernel&, Block& b) { b[2].body[2].op = Op::Sum; }), "op sum cannot be applied");
  expect_rejected(with([](Kernel&, Block& b) { b[2].body[2].op = Op::Neg; }), "2 arguments, not 1");
  expect_rejected(with([](Kernel&, Block& b) { b[3].body[1].op = Op::Add; }), "op add does not reduce");
  expect_rejected(with([](Kernel& k, Block&) { k.stages[0].pieces = 2; }),
                  "a reduction over lanes where a channel has 2 lanes");
  expect_rejected(with([](Kernel&, Block& b) { b[2].body[2].kind = StmtKind::ScanPieces; }),
                  "maps over pieces where a channel is one lane");
  expect_rejected(with([](Kernel& k, Block&) { k.buffers[1].written = false; }), "buffer y is read only");
  expect_rejected(with([](Kernel&, Block& b) { b[3].body[2].args[0] = 4; }), "v4 is lanes but goes to a uniform place");
  expect_rejected(with([](Kernel&, Block& b) { b[2].body[0].offset = nullptr; }), "is missing");
  expect_rejected(with([](Kernel&, Block& b) { b[2].body[0].origin = 0; }), "origin 0 does not exist");
  expect_rejected(with([](Kernel& k, Block&) { k.stages[0].origin = -2; }), "origin -2 does not exist");
}

TEST(LoopBuilder, RefusesUnbalancedBlocks) {
  Stage stage;
  StageBuilder b(stage);
  EXPECT_THROW(b.close(), InternalError);
}

}  // namespace
