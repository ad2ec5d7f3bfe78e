// What schedules a device has of itself, and what these keep where.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

#include "codegen/lower.h"
#include "ir/builder.h"
#include "tests/device_check.h"
#include "tests/schedule_cases.h"

namespace mambac::test {
namespace {

/// y = sum<N>(scan<L>(exp(dt * rate), x * gain) * read), the bare scan; with columns there is a matrix of states, and the
/// sum is over both dimensions.
Graph bare_scan(int64_t states, int64_t columns = 1, int64_t channels = 40, bool reverse = false) {
  Graph graph;
  Builder b(graph);
  const DimId B = graph.add_dim("B", 0), L = graph.add_dim("L", 0), D = graph.add_dim("D", channels);
  const DimId N = graph.add_dim("N", states);
  const NodeId dt = b.input("dt", {DType::f32, {B, L, D}}), x = b.input("x", {DType::f32, {B, L, D}});
  const DimId M = graph.add_dim("M", columns);
  const NodeId rate = b.input("rate", {DType::f32, columns > 1 ? std::vector{D, M, N} : std::vector{D, N}});
  const NodeId gain = b.input("gain", {DType::f32, {B, L, N}});
  const NodeId h = b.scan(b.Exp(b.Mul(dt, rate)), b.Mul(x, gain), L, reverse);
  const NodeId y = b.sum(b.Mul(h, b.input("read", {DType::f32, {B, L, N}})), {N});
  graph.outputs() = {{"y", columns > 1 ? b.sum(y, {M}) : y}};
  return fused(graph);
}

// As measured: docs/performance.md, "The machine decides".
TEST(Schedules, TheDefaultFitsTheProcessor) {
  const CpuTraits halves{16, true}, whole{16, false};
  EXPECT_TRUE(default_schedule(bare_scan(16), 0, halves).states_in_registers);
  EXPECT_EQ(default_schedule(bare_scan(16), 0, halves).tile, 1);
  EXPECT_FALSE(default_schedule(bare_scan(16, 1, 1024), 0, whole).states_in_registers);
  EXPECT_EQ(default_schedule(bare_scan(16, 1, 1024), 0, whole).tile, 8);
  EXPECT_TRUE(default_schedule(bare_scan(16, 1, 256), 0, whole).states_in_registers) << "rows of one piece of memory";
  for (const CpuTraits& cpu : {halves, whole})
    EXPECT_FALSE(default_schedule(bare_scan(17), 0, cpu).states_in_registers) << "no registers for so many";
}

TEST(GpuSchedules, StatesOfALaneAreFewEnoughForRegisters) {
  const auto lanes_and_registers = [](int64_t states, int64_t columns = 1) {
    const Graph graph = bare_scan(states, columns);
    const Schedule schedule = default_gpu_schedule(graph, 0);
    EXPECT_EQ(why_illegal(graph, 0, schedule, DeviceKind::gpu), "");
    return std::pair(schedule.pieces, schedule.states_in_registers);
  };
  EXPECT_EQ(lanes_and_registers(4), std::pair(1, true));
  EXPECT_EQ(lanes_and_registers(16), std::pair(2, true));
  EXPECT_EQ(lanes_and_registers(64), std::pair(2, true));
  EXPECT_EQ(lanes_and_registers(16, 16), std::pair(8, true));
  EXPECT_EQ(lanes_and_registers(61), std::pair(1, true));
  EXPECT_EQ(lanes_and_registers(67), std::pair(1, false)) << "lanes cannot share them";
  EXPECT_EQ(lanes_and_registers(32, 32), std::pair(1, false)) << "eight lanes, as many as a tile has steps, do not do";
}

/// Rows of so many elements with a number that is fixed but for the batch, as in a step.
Graph fixed_rows(int64_t rows, int64_t elements) {
  Graph graph;
  Builder b(graph);
  const DimId B = graph.add_dim("B", 0), D = graph.add_dim("D", rows), E = graph.add_dim("E", elements);
  const NodeId x = b.input("x", {DType::f32, {B, D, E}});
  graph.outputs() = {{"y", b.sum(b.Mul(x, x), {E})}};
  return fused(graph);
}

/// What the default schedule relies on: no row is of any length, a sum over time is one of many rows.
TEST(Schedules, SummedTimeIsAnOuterDimension) {
  Graph graph;
  Builder b(graph);
  const DimId L = graph.add_dim("L", 0), D = graph.add_dim("D", 1000), E = graph.add_dim("E", 4);
  const NodeId x = b.input("x", {DType::f32, {L, D, E}});
  for (const std::vector<DimId>& summed : {std::vector{L}, std::vector{L, E}, std::vector{L, D, E}}) {
    graph.outputs() = {{"y", b.sum(b.Mul(x, x), summed)}};
    const std::vector<DimId> outer = fused(graph).kernels[0].outer;
    EXPECT_NE(std::ranges::find(outer, L), outer.end()) << summed.size();
  }
}

TEST(Schedules, WhatTakesNoLongerThanALaunchIsOneTask) {
  const CpuTraits cpu{16, false};
  EXPECT_EQ(default_schedule(fixed_rows(1000, 16), 0, cpu).rows_per_task, 4000) << "of four sequences";
  EXPECT_LT(default_schedule(fixed_rows(1000, 4096), 0, cpu).rows_per_task, 100);
}

TEST(Schedules, TasksOfWindowsShareTheLengthAndHaveWholeRows) {
  const Graph graph = fused(windows_case(4, true).graph);
  const int number = kernel_of(graph, Op::Window);
  const int64_t lanes = graph.dim(graph.kernels[static_cast<size_t>(number)].lane).size;
  for (const bool halves : {false, true}) {
    const Schedule schedule = default_schedule(graph, number, {4, halves});
    EXPECT_GT(schedule.steps_per_task, 0);
    EXPECT_GE(schedule.blocks_per_task * 4, lanes);
  }
}

// As measured: docs/performance.md, "Tasks of equal size".
TEST(Schedules, TasksOfAScanHaveEqualPartsOfTheRow) {
  const auto blocks = [](int64_t channels, bool reverse) {
    return default_schedule(bare_scan(17, 1, channels, reverse), 0, {16, true}).blocks_per_task;
  };
  EXPECT_EQ(blocks(512, false), 16);
  EXPECT_EQ(blocks(1536, false), 24) << "four tasks, so that a thread has two";
  EXPECT_EQ(blocks(2048, false), 32);
  EXPECT_EQ(blocks(3584, false), 28);
  EXPECT_EQ(blocks(1536, true), 48);
  EXPECT_EQ(blocks(2048, true), 32) << "three of 48, 48 and 32 would leave a thread waiting";
}

/// Whether a place in an array is a number once loops are written out.
bool is_known(const loop::Int& place, const std::set<int>& written_out) {
  switch (place->op) {
    case loop::IntOp::Const: return true;
    case loop::IntOp::Var: return written_out.contains(static_cast<int>(place->value));
    case loop::IntOp::Piece:
    case loop::IntOp::Size: return false;
    default: return is_known(place->a, written_out) && is_known(place->b, written_out);
  }
}

/// Register arrays of the stage, and those of them with a place that is not known: they stay in memory.
struct RegisterArrays {
  std::set<std::string> all, in_memory;
  std::set<int> written_out;  // loop variables

  void find(const loop::Stage& stage, const loop::Block& block) {
    for (const loop::Stmt& s : block) {
      if (s.kind == loop::StmtKind::LoadArray || s.kind == loop::StmtKind::StoreArray) {
        const loop::Array& array = stage.arrays[static_cast<size_t>(s.buffer)];
        if (array.space != loop::Space::registers) continue;
        all.insert(array.name);
        if (!is_known(s.offset, written_out)) in_memory.insert(array.name);
      }
      if (s.unroll) written_out.insert(s.var);
      find(stage, s.body);
      find(stage, s.otherwise);
    }
  }
};

/// Also where states lie in memory: one loop that is not written out keeps the whole array there, with all its stores.
TEST(Schedules, WhatAWalkKeepsOfATileStaysInRegisters) {
  size_t arrays = 0;
  const Case cases[]{mixer_case(), mixer_gradients_case(), windows_case(4, true), gradients_of(windows_case(4, false))};
  for (const Case& c : cases) {
    const Graph graph = fused(c.graph);
    const Layouts layouts(graph);
    for (size_t k = 0; k < graph.kernels.size(); ++k) {
      if (graph.kernels[k].kind != KernelGroup::walk) continue;
      Schedule schedule = default_schedule(graph, static_cast<int>(k), {16, false});
      schedule.states_in_registers = false;
      const loop::Kernel kernel = lower(graph, layouts, static_cast<int>(k), schedule, DeviceKind::cpu).kernel;
      RegisterArrays found;
      for (const loop::Stage& stage : kernel.stages) found.find(stage, stage.body);
      EXPECT_EQ(found.in_memory, std::set<std::string>{}) << kernel.name;
      arrays += found.all.size();
    }
  }
  EXPECT_GT(arrays, 10u);
}

// As measured: docs/performance.md, "Rows side by side".
TEST(Schedules, WalksWithoutScansHaveShortTiles) {
  const Graph graph = fused(windows_case(4, true).graph);
  for (const bool halves : {false, true}) {
    const Schedule schedule = default_schedule(graph, kernel_of(graph, Op::Window), {16, halves});
    EXPECT_EQ(schedule.tile, 4);
    EXPECT_TRUE(schedule.states_in_registers) << "rows of one piece of memory";
  }
}

Graph softmax_and_sum(int64_t columns) {
  Graph graph;
  Builder b(graph);
  const DimId B = graph.add_dim("B", 0), V = graph.add_dim("V", columns);
  const NodeId x = b.input("x", {DType::f32, {B, V}}), e = b.Exp(b.Sub(x, b.op(Op::Amax, {x}, {.dims = {V}})));
  const NodeId y = b.Div(e, b.sum(e, {V}));
  graph.outputs() = {{"y", y}, {"sum", b.sum(b.Mul(y, x), {V})}};
  return graph;
}

/// Near each other or long.
TEST(Schedules, RowsWithExponentialsGoTogetherWhereMemoryIsNoSlowerForIt) {
  const auto together = [&](int64_t columns) {
    return default_schedule(fused(softmax_and_sum(columns)), 0, {16, false}).rows_together;
  };
  EXPECT_EQ(together(64), 4);
  EXPECT_EQ(together(128), 2);
  EXPECT_EQ(together(1000), 1);
  EXPECT_EQ(together(50280), 4);
  const Graph odd = softmax_and_sum(16387);
  const Bindings rows{{"B", 5}};  // four together, and one
  EXPECT_EQ(check_on_cpu(odd, rows, draw_values(odd, rows, {}, 1), {.bounds = false}), "");
}

TEST(Schedules, WhatIsSimplyMadeOfOneLoadIsNotKept) {
  /// Arrays of whole rows, where the sum over a row and what is made of it read the same values.
  const auto kept = [](const std::function<NodeId(Builder&, NodeId x, NodeId y, NodeId index)>& values) {
    Graph graph;
    Builder b(graph);
    const DimId B = graph.add_dim("B", 0), V = graph.add_dim("V", 1024);
    const NodeId x = b.input("x", {DType::f32, {B, V}}), y = b.input("y", {DType::f32, {B, V}});
    const NodeId both = values(b, x, y, b.op(Op::Iota, {}, {.dims = {V}}));
    graph.outputs() = {{"z", b.Mul(both, b.sum(both, {V}))}};
    const Graph one = fused(graph);
    const Schedule schedule = default_schedule(one, 0, {16, false});
    const loop::Kernel kernel = lower(one, Layouts(one), 0, schedule, DeviceKind::cpu).kernel;
    return std::ranges::count_if(kernel.stages[0].arrays, [](const loop::Array& array) {
      return array.lanes && array.space == loop::Space::scratch;
    });
  };
  EXPECT_EQ(kept([](Builder& b, NodeId x, NodeId, NodeId index) { return b.Mul(x, b.Sub(index, x)); }), 0);
  EXPECT_EQ(kept([](Builder& b, NodeId x, NodeId y, NodeId) { return b.Sub(x, y); }), 1) << "2 loads";
  EXPECT_EQ(kept([](Builder& b, NodeId x, NodeId, NodeId index) { return b.Mul(b.Exp(x), index); }), 1) << "exp(x)";
  EXPECT_EQ(kept([](Builder& b, NodeId x, NodeId, NodeId index) {
    for (int i = 0; i < 3; ++i) x = b.Max(b.Abs(x), index);
    return x;
  }), 1) << "6 instructions";
}

/// What is written out is compiled in more than its share of the time.
TEST(Schedules, WalksOfManyOpsWriteFewStepsOut) {
  const auto steps_of = [](int ops) {
    Graph graph;
    Builder b(graph);
    const DimId B = graph.add_dim("B", 0), L = graph.add_dim("L", 0), D = graph.add_dim("D", 64);
    const NodeId x = b.input("x", {DType::f32, {B, L, D}});
    NodeId h = b.scan(b.Sigmoid(x), x, L);
    for (int i = 0; i < ops; ++i) h = b.Tanh(b.Mul(h, x));
    graph.outputs() = {{"h", h}};
    const Graph layer = fused(graph);
    EXPECT_EQ(layer.kernels.size(), 1u);
    EXPECT_EQ(default_schedule(layer, 0, {16}).unroll, default_gpu_schedule(layer, 0).unroll);
    return default_schedule(layer, 0, {16}).unroll;
  };
  EXPECT_EQ(steps_of(20), 8);
  EXPECT_EQ(steps_of(150), 4);
  EXPECT_EQ(steps_of(2000), 1);
  const Graph layer = fused(mixer_case().graph);
  EXPECT_EQ(default_schedule(layer, kernel_of(layer, Op::Scan), {16}).unroll, 8);
}

}  // namespace
}  // namespace mambac::test
