// The directional ops against plain loops, and walks that resume at tiles against walks that do not.
#include "tests/ir_support.h"

namespace mambac {
namespace {

class Directional : public ::testing::Test, public Bench {
 protected:
  static constexpr int kB = 2, kL = 7, kD = 3, kK = 4;

  NodeId op(Op o, std::vector<NodeId> operands, Dims dims, bool reverse = false) {
    return b.op(o, std::move(operands), {.dims = std::move(dims), .reverse = reverse});
  }
  double value(const std::string& name, int i) { return values.at(name).data[i]; }

  /// The recurrence as it is written, over [B, L, D], for decay [B, L, D], input [B, L, D] and start [B, D].
  std::vector<double> scan_loop(bool reverse, bool with_start, bool with_starts) {
    std::vector<double> h(kB * kL * kD);
    for (int i = 0; i < kB; ++i) {
      for (int d = 0; d < kD; ++d) {
        double state = with_start ? value("start", i * kD + d) : 0;
        for (int step = 0; step < kL; ++step) {
          int t = reverse ? kL - 1 - step : step;
          int border = reverse ? t + 1 : t;
          if (with_starts && border < kL && value("starts", i * kL + border) != 0) state = 0;
          int place = (i * kL + t) * kD + d;
          state = value("decay", place) * state + value("x", place);
          h[place] = state;
        }
      }
    }
    return h;
  }

  /// `make` builds the recurrence from a resume operand; with the one that chunk_starts gives it is the same.
  template <typename Make>
  void expect_resumes(const Make& make, NodeId start = {}) {
    NodeId plain = make(NodeId{});
    NodeId entered = op(Op::ChunkStarts, {plain, start}, {L, tiles});
    NodeId resumed = make(entered);
    expect_near(run(resumed).data, run(plain).data, 0);
    // It is really read: other values to resume from change the result.
    NodeId other = b.Add(entered, b.constant(1));
    std::vector<double> changed = run(make(other)).data;
    EXPECT_NE(changed, run(plain).data);
    verify(graph);
  }
};

TEST_F(Directional, ScanIsTheLoop) {
  NodeId decay = in("decay", {B, L, D}), x = in("x", {B, L, D}), start = in("start", {B, D}), packed = starts();
  for (bool reverse : {false, true}) {
    expect_near(run(b.scan(decay, x, L, reverse)).data, scan_loop(reverse, false, false));
    expect_near(run(b.scan(decay, x, L, reverse, start)).data, scan_loop(reverse, true, false));
    expect_near(run(b.scan(decay, x, L, reverse, {}, packed)).data, scan_loop(reverse, false, true));
    expect_near(run(b.scan(decay, x, L, reverse, start, packed)).data, scan_loop(reverse, true, true));
  }
}

TEST_F(Directional, ScanRepeatsItsOperands) {
  NodeId decay = in("decay", {D, N}), x = in("x", {B, L, D}), start = in("start", {N}), c = in("c", {L}),
         d = in("d", {D});
  NodeId narrow = b.scan(decay, x, L, false, start);
  NodeId wide = b.scan(b.broadcast(decay, {B, L}), b.broadcast(x, {N}), L, false, b.broadcast(start, {B, D}));
  ASSERT_EQ(type(narrow).dims, (Dims{B, L, D, N}));
  std::vector<double> found = run(narrow).data;
  NodeId aligned = b.Add(b.Mul(narrow, b.constant(0)), wide);
  expect_near(run(aligned).data, found);
  // The input lacks the walked dimension, the decay has it.
  expect_near(run(b.scan(c, d, L)).data, run(b.scan(c, b.broadcast(d, {L}), L)).data);
}

TEST_F(Directional, PackedIsSeparate) {
  NodeId decay = f32("decay", {L}, {.5, .5, .5, .5, .5, .5, .5}), x = f32("x", {L}, {1, 1, 1, 1, 1, 1, 1});
  NodeId packed = given("packed", {DType::u8, {L}}, {1, 0, 0, 1, 0, 0, 0});
  EXPECT_EQ(run(b.scan(decay, x, L, false, b.constant(100), packed)).data,
            (std::vector<double>{1, 1.5, 1.75, 1, 1.5, 1.75, 1.875}));
  EXPECT_EQ(run(b.scan(decay, x, L, true, b.constant(8), packed)).data,
            (std::vector<double>{1.75, 1.5, 1, 1.875 + .5, 1.75 + 1, 1.5 + 2, 1 + 4}));
}

TEST_F(Directional, Delay) {
  NodeId x = f32("x", {L}, {1, 2, 3, 4, 5, 6, 7});
  NodeId packed = given("packed", {DType::u8, {L}}, {1, 0, 0, 1, 0, 0, 0});
  EXPECT_EQ(run(b.delay(x, L)).data, (std::vector<double>{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(run(b.delay(x, L, false, b.constant(9))).data, (std::vector<double>{9, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(run(b.delay(x, L, false, b.constant(9), packed)).data, (std::vector<double>{0, 1, 2, 0, 4, 5, 6}));
  EXPECT_EQ(run(b.delay(x, L, true)).data, (std::vector<double>{2, 3, 4, 5, 6, 7, 0}));
  EXPECT_EQ(run(b.delay(x, L, true, b.constant(9), packed)).data, (std::vector<double>{2, 3, 0, 5, 6, 7, 9}));
}

TEST_F(Directional, Window) {
  bindings["L"] = 3;
  NodeId x = f32("x", {L}, {1, 2, 3});
  EXPECT_EQ(run(op(Op::Window, {x}, {L, K})).data, (std::vector<double>{0, 0, 0, 1, 0, 0, 1, 2, 0, 1, 2, 3}));
  NodeId start = f32("start", {K}, {6, 7, 8, 9});
  EXPECT_EQ(run(op(Op::Window, {x, start}, {L, K})).data, (std::vector<double>{7, 8, 9, 1, 8, 9, 1, 2, 9, 1, 2, 3}));
  NodeId packed = given("packed", {DType::u8, {L}}, {0, 1, 0});
  EXPECT_EQ(run(op(Op::Window, {x, start, packed}, {L, K})).data,
            (std::vector<double>{7, 8, 9, 1, 0, 0, 0, 2, 0, 0, 2, 3}));
}

TEST_F(Directional, OverlapIsTheAdjointOfWindow) {
  NodeId x = in("x", {B, L, D}), g = in("g", {B, L, D, K}), packed = starts();
  NodeId w = op(Op::Window, {x, {}, packed}, {L, K});
  NodeId back = b.at(op(Op::Overlap, {g, packed}, {L, K}), K, -1);
  double forward = run(b.sum(b.Mul(w, g), {B, L, D, K})).data[0];
  double backward = run(b.sum(b.Mul(x, back), {B, L, D})).data[0];
  EXPECT_NEAR(forward, backward, 1e-12);
}

TEST_F(Directional, OverlapIsTheLoop) {
  NodeId g = in("g", {L, K});
  std::vector<double> c(kL * kK);
  for (int t = kL - 1; t >= 0; --t) {
    for (int k = 0; k < kK; ++k) {
      double next = t + 1 < kL && k > 0 ? c[(t + 1) * kK + k - 1] : 0;
      c[t * kK + k] = value("g", t * kK + k) + next;
    }
  }
  expect_near(run(op(Op::Overlap, {g}, {L, K})).data, c);
}

TEST_F(Directional, ChunkStarts) {
  NodeId decay = f32("decay", {L}, {1, 1, 1, 1, 1, 1, 1}), x = f32("x", {L}, {1, 1, 1, 1, 1, 1, 1});
  NodeId start = b.constant(10);
  NodeId h = b.scan(decay, x, L, false, start), back = b.scan(decay, x, L, true, start);
  EXPECT_EQ(run(op(Op::ChunkStarts, {h, start}, {L, tiles})).data, (std::vector<double>{10, 13, 16}));
  EXPECT_EQ(run(op(Op::ChunkStarts, {back, start}, {L, tiles})).data, (std::vector<double>{14, 11, 10}));
}

TEST_F(Directional, ResumesWhereItStopped) {
  NodeId decay = in("decay", {L, D}), x = in("x", {B, L, D}), start = in("start", {B, D}), packed = starts();
  for (bool reverse : {false, true}) {
    for (NodeId cut : {NodeId{}, packed}) {
      expect_resumes([&](NodeId resume) { return op(Op::Scan, {decay, x, {}, cut, resume}, {L}, reverse); });
      expect_resumes([&](NodeId resume) { return op(Op::Scan, {decay, x, start, cut, resume}, {L}, reverse); }, start);
      expect_resumes([&](NodeId resume) { return op(Op::Delay, {x, start, cut, resume}, {L}, reverse); });
    }
  }
}

TEST_F(Directional, WindowsResumeWhereTheyStopped) {
  NodeId x = in("x", {B, L, D}), start = in("start", {B, D, K}), g = in("g", {B, L, K, D}), packed = starts();
  for (NodeId cut : {NodeId{}, packed}) {
    expect_resumes([&](NodeId resume) { return op(Op::Window, {x, start, cut, resume}, {L, K}); }, start);
    expect_resumes([&](NodeId resume) { return op(Op::Window, {x, {}, cut, resume}, {L, K}); });
    expect_resumes([&](NodeId resume) { return op(Op::Overlap, {g, cut, resume}, {L, K}); });
  }
}

}  // namespace
}  // namespace mambac
