// How long warps take for programs that are written by hand.
#include "tools/warp_timing.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/cuda/machine_code.h"

namespace mambac::tools {
namespace {

const Gpu& h200() {
  return *std::ranges::find(gpus(), "h200", &Gpu::name);
}

WarpStep step(Pipe pipe, int stall = 1) {
  WarpStep made;
  made.pipe = pipe;
  made.control.stall = stall;
  return made;
}

WarpStep load(int bytes, int scoreboard) {
  WarpStep made = step(Pipe::access);
  made.answer = Answer::memory;
  made.global = true;
  made.bytes = bytes;
  made.control.written = scoreboard;
  return made;
}

WarpStep waiting(int scoreboard) {
  WarpStep made = step(Pipe::fma);
  made.control.waits = 1u << scoreboard;
  return made;
}

/// A program that repeats the steps.
WarpProgram repeated(std::vector<WarpStep> steps, double times) {
  WarpProgram program;
  program.steps = std::move(steps);
  program.loops.push_back({0, program.steps.size(), times});
  return program;
}

/// Clocks of an iteration, for all warps.
double clocks(const std::vector<WarpStep>& steps, const WarpLoad& load) {
  constexpr double kFew = 1000, kMany = 2000;
  return (warp_clocks(h200(), repeated(steps, kMany), load) - warp_clocks(h200(), repeated(steps, kFew), load)) /
         (kMany - kFew);
}

WarpLoad warps(int count) {
  WarpLoad load;
  load.warps = count;
  load.bytes_per_clock = 1e9;
  return load;
}

TEST(WarpTiming, IssuesOneInstructionEachClock) {
  const std::vector<WarpStep> steps(10, step(Pipe::fma));
  EXPECT_NEAR(clocks(steps, warps(1)), 10, 1e-6);
  EXPECT_NEAR(clocks(steps, warps(3)), 30, 0.5);
}

TEST(WarpTiming, OtherWarpsFillStalls) {
  const std::vector<WarpStep> steps(10, step(Pipe::fma, 4));
  EXPECT_NEAR(clocks(steps, warps(1)), 40, 1e-6);
  EXPECT_NEAR(clocks(steps, warps(4)), 40, 0.5);
  EXPECT_NEAR(clocks(steps, warps(8)), 80, 0.5);
}

TEST(WarpTiming, PipesTakeTheirTime) {
  EXPECT_NEAR(clocks({step(Pipe::special)}, warps(1)), 8, 1e-6);  // 16 lanes each clock and multiprocessor
  EXPECT_NEAR(clocks({step(Pipe::special), step(Pipe::fma)}, warps(2)), 16, 0.5);
  EXPECT_NEAR(clocks({step(Pipe::integer)}, warps(1)), 2, 1e-6);
}

TEST(WarpTiming, LoadsAreWaitedFor) {
  const double alone = clocks({load(16, 0), waiting(0)}, warps(1));
  EXPECT_GT(alone, h200().memory_latency * h200().clock);
  EXPECT_LT(alone, 2 * h200().memory_latency * h200().clock);
  EXPECT_NEAR(clocks({load(16, 0), load(16, 1), waiting(0), waiting(1)}, warps(1)), alone, 0.1 * alone);
  EXPECT_NEAR(clocks({load(16, 0), waiting(0), load(16, 1), waiting(1)}, warps(1)), 2 * alone, 0.1 * alone);
  EXPECT_NEAR(clocks({load(16, 0), waiting(0)}, warps(8)), alone, 0.2 * alone);
  WarpLoad near = warps(1);
  near.in_l2 = true;
  EXPECT_LT(clocks({load(16, 0), waiting(0)}, near), 0.6 * alone);
  EXPECT_GT(clocks({load(2, 0), waiting(0)}, warps(1)), 1.3 * alone);  // half a line
}

TEST(WarpTiming, MemoryGivesSoManyBytes) {
  WarpLoad slow = warps(16);
  slow.bytes_per_clock = 4;
  EXPECT_NEAR(clocks({load(16, 0), waiting(0)}, slow), 16 * 512 / 4.0, 20);
}

TEST(WarpTiming, RowsOfAnAccessTakeTurns) {
  const std::vector<WarpStep> steps(8, load(2, 0));
  WarpLoad four = warps(4);
  four.rows = 4;
  EXPECT_NEAR(clocks(steps, four) / clocks(steps, warps(4)), 4, 0.2);
}

TEST(WarpTiming, WarpsOfABlockMeetAtBarriers) {
  WarpStep barrier = step(Pipe::none);
  barrier.barrier = true;
  WarpLoad load = warps(2);
  const double apart = clocks({step(Pipe::fma), barrier}, load);
  load.together = 2;
  const double together = clocks({step(Pipe::fma), barrier}, load);
  EXPECT_GT(apart, 20);
  EXPECT_GE(together, apart);
  EXPECT_LT(together, 2 * apart);
}

TEST(WarpTiming, BlocksComeOneAfterAnother) {
  const WarpProgram program = repeated({load(16, 0), waiting(0)}, 3);
  WarpLoad one = warps(2), ten = one;
  ten.blocks = 10;
  const double single = warp_clocks(h200(), program, one);
  EXPECT_NEAR(warp_clocks(h200(), program, ten) / single, 10, 0.5);
}

TEST(WarpTiming, WhatIsLeftOutCountsBeside) {
  WarpProgram program = repeated({step(Pipe::fma)}, 10000);
  const double whole = warp_clocks(h200(), program, warps(1));
  program.share = 0.5;
  EXPECT_NEAR(warp_clocks(h200(), program, warps(1)), 2 * whole, 1e-6);
}

// ---- from machine code ----------------------------------------------------------------------------------------------

/// As nvdisasm prints it: a loop of a load and what waits for it, and a block that seldom runs.
constexpr const char* kSass = R"(
	.section	.text.k,"ax",@progbits
.text.k:
        /*0000*/                   S2R R0, SR_TID.X ;                    /* 0x0000000000007919 */
                                                                         /* 0x000e220000002100 */
.L_x_1:
        /*0010*/                   LDG.E.U16 R4, desc[UR4][R2.64] ;      /* 0x0000000402047981 */
                                                                         /* 0x001ea8000c1e1500 */
        /*0020*/              @!P0 BRA `(.L_x_2) ;                       /* 0x0000000000008947 */
                                                                         /* 0x000fea0003800000 */
        /*0030*/                   MUFU.EX2 R5, R4 ;                     /* 0x0000000400057308 */
                                                                         /* 0x004e640000000800 */
.L_x_2:
        /*0040*/                   FFMA R6, R4, R4, R6 ;                 /* 0x0000000404067223 */
                                                                         /* 0x004fe20000000006 */
        /*0050*/               @P1 BRA `(.L_x_1) ;                       /* 0xfffffffc00ec1947 */
                                                                         /* 0x000fea000383ffff */
        /*0060*/                   EXIT ;                                /* 0x000000000000794d */
                                                                         /* 0x000fea0003800000 */
)";

TEST(WarpProgram, FollowsMachineCode) {
  const std::vector<machine::Function> functions = cuda::parse_sass(kSass);
  ASSERT_EQ(functions.size(), 1u);
  const WarpProgram program = warp_program(functions[0], {1, 100, 100, 10, 100, 100, 1});
  ASSERT_EQ(program.steps.size(), 6u);  // all but MUFU
  EXPECT_EQ(program.steps[0].control.written, 0);
  EXPECT_EQ(program.steps[1].control.waits, 1u);
  EXPECT_EQ(program.steps[1].control.written, 2);
  EXPECT_EQ(program.steps[1].control.stall, 4);
  EXPECT_EQ(program.steps[1].bytes, 2);
  EXPECT_TRUE(program.steps[1].global);
  EXPECT_EQ(program.steps[1].answer, Answer::memory);
  EXPECT_EQ(program.steps[3].pipe, Pipe::fma);
  EXPECT_EQ(program.steps[3].control.waits, 4u);
  EXPECT_EQ(program.steps[3].control.written, -1);
  ASSERT_EQ(program.loops.size(), 1u);
  EXPECT_EQ(program.loops[0].begin, 1u);
  EXPECT_EQ(program.loops[0].end, 5u);
  EXPECT_EQ(program.loops[0].trips, 100);
  EXPECT_EQ(program.global_bytes, 200);
  EXPECT_NEAR(program.share, 402.0 / 412, 1e-9);
}

TEST(WarpProgram, HasBothSidesThatRunOften) {
  const std::vector<machine::Function> functions = cuda::parse_sass(kSass);
  const WarpProgram program = warp_program(functions[0], {1, 100, 100, 60, 100, 100, 1});
  ASSERT_EQ(program.steps.size(), 7u);
  EXPECT_EQ(program.steps[3].pipe, Pipe::special);
  EXPECT_TRUE(warp_program(functions[0], {0, 0, 0, 0, 0, 0, 0}).steps.empty());
}

TEST(WarpProgram, PrefetchesMakeLoadsNear) {
  std::string text = kSass;
  text.replace(text.find("MUFU.EX2 R5, R4"), 15, "CCTL.E.PF2 [R8]");
  const WarpProgram program = warp_program(cuda::parse_sass(text)[0], {1, 100, 100, 100, 100, 100, 1});
  EXPECT_EQ(program.steps[1].answer, Answer::l2);
  EXPECT_TRUE(program.steps[3].prefetch);
}

}  // namespace
}  // namespace mambac::tools
