// Every legal schedule computes the same values; illegal ones are refused.
#include <gtest/gtest.h>

#include <omp.h>

#include <fmt/format.h>

#include "codegen/cuda/cuda_emit.h"
#include "ir/builder.h"
#include "passes/differentiate.h"
#include "passes/simplify.h"
#include "tests/device_check.h"
#include "tests/random_graph.h"
#include "tests/schedule_cases.h"

namespace mambac::test {
namespace {

/// A norm and the loss of its rows, with gradients: sums over rows of values with lanes and without, rows that several
/// passes read, and numbers of lanes.
Case rows_case(int64_t channels) {
  Case c;
  Builder b(c.graph);
  const DimId B = c.graph.add_dim("B", 0), L = c.graph.add_dim("L", 0), D = c.graph.add_dim("D", channels);
  const NodeId x = b.input("x", {DType::f32, {B, L, D}}), target = b.input("target", {DType::u8, {B, L}});
  const NodeId weight = b.input("weight", {DType::f32, {D}}), bias = b.input("bias", {DType::f32, {D}});
  const NodeId size = b.constant(static_cast<double>(channels));
  const NodeId centred = b.Sub(x, b.Div(b.sum(x, {D}), size));
  const NodeId variance = b.Div(b.sum(b.Mul(centred, centred), {D}), size);
  const NodeId norm = b.Mul(centred, b.Rsqrt(b.Add(variance, b.constant(1e-3))));
  const NodeId logits = b.Add(b.Mul(norm, weight), bias);
  const NodeId shifted = b.Sub(logits, b.Stop(b.op(Op::Amax, {logits}, {.dims = {D}})));
  const NodeId here = b.Eq(b.op(Op::Iota, {}, {.dims = {D}}), b.cast(target, DType::f32));
  const NodeId loss = b.Sub(b.Log(b.sum(b.Exp(shifted), {D})), b.sum(b.Mul(shifted, here), {D}));
  c.graph.outputs() = {{"logits", logits}, {"loss", b.sum(loss, {B, L})}};
  c.graph = simplify(differentiate_with_seeds(c.graph));
  c.ranges = {{"target", {Range::integer, 0, static_cast<double>(channels - 1)}}};
  return c;
}

/// Along a dimension of fixed size, in two directions, beside channels: a window whose result a scan takes on, and what
/// is left at both ends and in between.
Case fixed_walk_case(int64_t steps, int64_t channels = 21) {
  Case c;
  Builder b(c.graph);
  const DimId B = c.graph.add_dim("B", 0), L = c.graph.add_dim("L", 0), D = c.graph.add_dim("D", steps);
  const DimId N = c.graph.add_dim("N", channels), K = c.graph.add_dim("K", 3);
  const NodeId x = b.input("x", {DType::f32, {B, L, D}}), gain = b.input("gain", {DType::f32, {D, N}});
  const NodeId rate = b.input("rate", {DType::f32, {N}}), taps = b.input("taps", {DType::f32, {K, N}});
  const NodeId window = b.op(Op::Window, {b.Mul(x, gain), {}, {}, {}}, {.dims = {D, K}});
  const NodeId filtered = b.dot(window, taps, {K});
  const NodeId h = b.scan(b.Sigmoid(rate), filtered, D, true);
  c.graph.outputs() = {{"y", b.sum(b.Mul(h, gain), {N})}, {"last", b.at(h, D, 0)}, {"filtered", filtered},
                       {"inside", b.at(filtered, D, steps / 2)}, {"sum", b.sum(h, {L, D})}};
  return c;
}

/// The schedule, where it is legal; as much of it as is legal elsewhere. Its steps per task are in tiles.
Program::Scheduler as_far_as_legal(const Schedule& wanted) {
  return [=](const Graph& fused, int number) {
    const Schedule plain = default_schedule(fused, number, {wanted.width});
    Schedule schedule = wanted;
    if (!can_chunk(fused, number)) schedule.chunks = 1;
    if (wanted.blocks_per_task > 1 && !can_keep_states_in_registers(fused, number))
      schedule.states_in_registers = false;
    for (const Node& node : fused.nodes()) {
      if (node.kernel != number || !is_directional(node.op)) continue;
      if (node.op == Op::ChunkStarts && fused.dim(node.attrs.dims[1]).divisor % schedule.tile != 0)
        schedule.tile = plain.tile;
      else if (node.op != Op::ChunkStarts && operand(node, "resume").present())
        schedule.tile = plain.tile;
    }
    schedule.steps_per_task *= schedule.tile;
    if (schedule.chunks > 1 || !steps_remembered(fused, number)) schedule.steps_per_task = 0;
    if (!can_split(fused, number, schedule)) schedule.pieces = 1;
    if (!why_illegal_time(fused, number, schedule).empty()) schedule.time_lanes = 1;
    if (why_illegal(fused, number, schedule, DeviceKind::cpu).find("writes all steps out") != std::string::npos)
      schedule.states_in_registers = false;
    return schedule;
  };
}

void draw_rows(Random& random, Schedule& schedule) {
  schedule.rows_together = random.pick<int>({1, 2, 4});
  schedule.row_blocks = random.pick<int>({1, 8, 1000});
  schedule.columns = random.pick<int>({1, 2, 8});
  schedule.kept_vectors = random.pick<int>({0, 1, 64});
  schedule.summing_tasks = random.pick<int>({1, 3, 16, 128});
}

Schedule draw_schedule(Random& random) {
  Schedule schedule;
  schedule.width = random.chance(0.5) ? 8 : 16;
  schedule.tile = random.pick<int>({1, 4, 8, 16, 32});
  schedule.unroll = random.pick<int>({1, 2, 4, 8});
  schedule.blocks_per_task = random.pick<int>({1, 2, 12});
  schedule.states_in_registers = random.chance(0.3);
  schedule.ahead = random.pick<int>({0, 1, 3});
  schedule.interleave = random.pick<int>({0, 3, 12, 200});
  schedule.chunks = random.pick<int>({1, 2, 3, 7});
  schedule.steps_per_task = random.pick<int>({0, 1, 2, 5});
  schedule.rows_per_task = random.pick<int>({1, 3, 16});
  schedule.row_unroll = random.pick<int>({1, 2, 4});
  draw_rows(random, schedule);
  return schedule;
}

/// For blocks of threads.
Schedule draw_gpu_schedule(Random& random) {
  Schedule schedule;
  schedule.ahead = 0;
  schedule.width = random.pick<int>({32, 64, 128});
  schedule.tile = random.pick<int>({1, 2, 4, 8, 16, 32});
  schedule.unroll = random.pick<int>({1, 2, 4, 8});
  schedule.blocks_per_task = random.pick<int>({1, 1, 2});
  schedule.states_in_registers = random.chance(0.7);
  schedule.staged = random.chance(0.7);
  schedule.chunks = random.pick<int>({1, 1, 2, 3, 7});
  schedule.steps_per_task = random.pick<int>({0, 1, 2, 5});
  schedule.pieces = random.pick<int>({1, 1, 2, 4});
  schedule.time_lanes = random.pick<int>({1, 2, 8, 32});
  schedule.exp_on_fma = random.pick<int>({0, 0, 1, 2, 3});
  schedule.blocks_per_sm = random.pick<int>({1, 4});
  schedule.tiles_ahead = random.pick<int>({0, 1, 2, 3});
  schedule.copies_ahead = schedule.staged ? random.pick<int>({0, 1, 2}) : 0;
  schedule.inner_unroll = random.pick<int>({1, 4, 16});
  schedule.rows_per_task = random.pick<int>({1, 2, 16});
  schedule.row_unroll = random.pick<int>({1, 2, 4});
  schedule.slots_per_task = random.pick<int>({0, 2, 32});
  draw_rows(random, schedule);
  return schedule;
}

/// On the emulation device.
void expect_gpu_agreement(const Case& c, uint64_t seed, int samples, const FuseOptions& fuse = {}) {
  Random random(seed);
  for (int i = 0; i < samples; ++i) {
    const Schedule schedule = draw_gpu_schedule(random);
    const Bindings bindings{{"B", random.integer(1, 2)}, {"L", random.pick<int64_t>({1, 7, 65})}};
    const Arrays values = draw_values(c.graph, bindings, c.ranges, random.bits());
    CheckOptions options;
    options.fuse = fuse;
    options.schedule = as_far_as_legal(schedule);
    options.device = &emulated_device();
    std::string found;
    try {
      found = check_on_cpu(c.graph, bindings, values, options);
    } catch (const Failure& failure) {
      found = failure.what();
    }
    EXPECT_EQ(found, "") << schedule.str() << fmt::format(" B={} L={}", bindings.at("B"), bindings.at("L"));
  }
}

void expect_agreement(const Case& c, uint64_t seed, int samples, const FuseOptions& fuse = {}) {
  Random random(seed);
  for (int i = 0; i < samples; ++i) {
    const Schedule schedule = draw_schedule(random);
    const Bindings bindings{{"B", random.integer(1, 3)}, {"L", random.pick<int64_t>({1, 7, 65, 513})}};
    const Arrays values = draw_values(c.graph, bindings, c.ranges, random.bits());
    CheckOptions options;
    options.bounds = bindings.at("L") < 100;
    options.fuse = fuse;
    options.schedule = as_far_as_legal(schedule);
    EXPECT_EQ(check_on_cpu(c.graph, bindings, values, options), "")
        << schedule.str() << fmt::format(" B={} L={}", bindings.at("B"), bindings.at("L"));
  }
}

void expect_refused(const Graph& graph, int kernel, const Schedule& schedule, DeviceKind kind = DeviceKind::cpu) {
  EXPECT_THROW(lower(graph, Layouts(graph), kernel, schedule, kind), InternalError) << schedule.str();
}

TEST(Schedules, OfALayerAgree) { expect_agreement(mixer_case(), 1, 7); }
TEST(Schedules, OfALayersGradientsAgree) { expect_agreement(mixer_gradients_case(), 2, 5); }
TEST(Schedules, OfUniformAndPlainScansAgree) { expect_agreement(scans_case(false), 3, 10); }
TEST(Schedules, OfScansFromTheEndAgree) {
  expect_agreement(scans_case(true), 4, 8);
  expect_agreement(reverse_states_case(), 5, 8);
}
TEST(Schedules, OfRowsAgree) {
  for (const int64_t channels : {1, 37, 256}) expect_agreement(rows_case(channels), 9, 6);
}

TEST(Schedules, OfGrowthOutOfNothingInChunksAgree) {
  const Bindings bindings{{"B", 2}, {"L", 257}};
  for (const bool reverse : {false, true})
    for (const int chunks : {2, 3}) {
      const Case c = growth_case(reverse, 21);
      CheckOptions options;
      options.bounds = false;
      options.schedule = as_far_as_legal({.width = 8, .tile = 8, .blocks_per_task = 1, .chunks = chunks});
      EXPECT_EQ(check_on_cpu(c.graph, bindings, growth_values(c, bindings, reverse), options), "") << chunks;
    }
}

TEST(Schedules, OfWindowsAgree) {
  for (const bool packed : {false, true})
    for (const int64_t taps : {2, 3, 4, 5}) {
      const Case c = windows_case(taps, packed);
      expect_agreement(c, 20 + static_cast<uint64_t>(taps), 2);
      expect_agreement(gradients_of(c), 30 + static_cast<uint64_t>(taps), 2);
    }
}

TEST(Schedules, OfWalksOfFixedSizesAgree) {
  for (const int64_t steps : {1, 8, 70}) {
    const Case c = fixed_walk_case(steps);
    expect_agreement(c, 60, 2);
    expect_agreement(gradients_of(c), 61, 1);
  }
}

TEST(Schedules, OfRandomGraphsAgree) {
  Random random(8);
  for (uint64_t seed = 900; seed < 940; ++seed) {
    const RandomGraph graph = random_graph(seed, {.nodes = 16, .differentiable = false});
    const Schedule schedule = draw_schedule(random);
    CheckOptions options;
    options.schedule = as_far_as_legal(schedule);
    EXPECT_EQ(check_on_cpu(simplify(graph.graph), graph.bindings, graph.values, options), "")
        << "seed " << seed << " " << schedule.str();
  }
}

TEST(Schedules, ProjectionsInsideAndOutsideAgree) {
  for (const bool inside : {false, true})
    for (const int recompute : {4, 16}) {
      const FuseOptions options{.fuse_projections = inside, .recompute = recompute};
      expect_agreement(mixer_case(), 6, 2, options);
      expect_agreement(mixer_gradients_case(), 7, 2, options);
    }
}

// 70 channels are one, two or three blocks of threads, the last one short.
TEST(GpuSchedules, OfALayerAgree) {
  expect_gpu_agreement(mixer_case(70, 4), 11, 5);
}
TEST(GpuSchedules, OfALayersGradientsAgree) {
  expect_gpu_agreement(mixer_gradients_case(70, 4), 12, 3);
}
TEST(GpuSchedules, OfUniformAndPlainScansAgree) {
  expect_gpu_agreement(scans_case(false, 70), 13, 8);
}
TEST(GpuSchedules, OfScansFromTheEndAgree) {
  expect_gpu_agreement(scans_case(true, 70), 14, 6);
  expect_gpu_agreement(reverse_states_case(70, 4), 15, 6);
}
TEST(GpuSchedules, OfRowsAgree) {
  for (const int64_t channels : {1, 70, 256}) expect_gpu_agreement(rows_case(channels), 20, 3);
}

TEST(GpuSchedules, OfWindowsAgree) {
  for (const bool packed : {false, true})
    for (const int64_t taps : {2, 5}) {
      const Case c = windows_case(taps, packed, 70);
      expect_gpu_agreement(c, 40 + static_cast<uint64_t>(taps), 1);
      expect_gpu_agreement(gradients_of(c), 50 + static_cast<uint64_t>(taps), 1);
    }
}

TEST(GpuSchedules, OfWalksOfFixedSizesAgree) {
  const Case c = fixed_walk_case(19, 70);
  expect_gpu_agreement(c, 62, 1);
  expect_gpu_agreement(gradients_of(c), 63, 1);
}

/// With gradients of the start and through the last state.
TEST(GpuSchedules, OfGradientsFromTheEndAgree) {
  Case c = reverse_states_case(70, 4);
  c.graph = simplify(differentiate_with_seeds(c.graph));
  expect_gpu_agreement(c, 16, 6);
}

/// Sums over channels of that many states have no room in the memory that threads share.
TEST(GpuSchedules, OfManyStatesAgree) {
  Case c = reverse_states_case(70, 256);
  c.graph = simplify(differentiate_with_seeds(c.graph));
  const Bindings bindings{{"B", 1}, {"L", 21}};
  CheckOptions options;
  options.device = &emulated_device();
  Schedule schedule{
      .width = 128, .tile = 8, .states_in_registers = true, .blocks_per_task = 1, .ahead = 0, .staged = true};
  for (const int pieces : {1, 2}) {
    schedule.pieces = pieces;
    options.schedule = as_far_as_legal(schedule);
    EXPECT_EQ(check_on_cpu(c.graph, bindings, draw_values(c.graph, bindings, c.ranges, 19), options), "") << pieces;
  }
}

/// Two staged values, one of them narrow, some of whose tiles are copied before the one that needs them.
TEST(GpuSchedules, OfCopiesAheadAgree) {
  Case c;
  Builder b(c.graph);
  const DimId B = c.graph.add_dim("B", 0), L = c.graph.add_dim("L", 0), D = c.graph.add_dim("D", 70);
  const DimId N = c.graph.add_dim("N", 8);
  const NodeId dt = b.Sigmoid(b.input("dt", {DType::f32, {B, L, D}})), k = b.input("k", {DType::f32, {B, L, N}});
  const NodeId q = b.cast(b.input("q", {DType::bf16, {B, L, N}}), DType::f32);
  const NodeId rate = b.input("rate", {DType::f32, {D}});
  for (const bool reverse : {false, true}) {
    const NodeId h = b.scan(b.Exp(b.Mul(dt, rate)), b.Mul(dt, k), L, reverse);
    c.graph.outputs() = {{"y", b.sum(b.Mul(h, q), {N})}, {"last", b.at(h, L, reverse ? 0 : -1)}};
    const Bindings bindings{{"B", 2}, {"L", 37}};
    Arrays values = draw_values(c.graph, bindings, {}, 23);
    for (double& value : values.at("q").data) value = round_to(DType::bf16, value);
    for (const auto& [copies, tiles_ahead, time_lanes] : {std::tuple{1, 0, 1}, {2, 3, 1}, {3, 1, 4}}) {
      const Schedule schedule{.width = 32,
                              .tile = 8,
                              .states_in_registers = true,
                              .blocks_per_task = 1,
                              .ahead = 0,
                              .time_lanes = time_lanes,
                              .staged = true,
                              .tiles_ahead = tiles_ahead,
                              .copies_ahead = copies};
      CheckOptions options;
      options.device = &emulated_device();
      options.schedule = [&](const Graph& graph, int number) {
        const loop::Kernel kernel = lower(graph, Layouts(graph), number, schedule, DeviceKind::gpu).kernel;
        EXPECT_NE(cuda_emit::emit(kernel).find("mb_copy_async16"), std::string::npos);
        return schedule;
      };
      EXPECT_EQ(check_on_cpu(simplify(c.graph), bindings, values, options), "") << schedule.str();
    }
  }
}

TEST(GpuSchedules, CopiesAheadOfNothingStagedAreRefused) {
  const Graph graph = fused(scans_case(false).graph);
  const int kernel = kernel_of(graph, Op::Scan);
  EXPECT_EQ(why_illegal(graph, kernel, {.width = 32, .staged = true, .copies_ahead = 1}, DeviceKind::gpu), "");
  expect_refused(graph, kernel, {.width = 32, .staged = false, .copies_ahead = 1}, DeviceKind::gpu);
  expect_refused(graph, kernel, {.width = 32, .staged = true, .copies_ahead = -1}, DeviceKind::gpu);
}

/// What the tests of pieces hold only if it is so.
TEST(GpuSchedules, StatesCanBeSplit) {
  for (const Graph& graph : {fused(mixer_case(70, 4).graph), fused(mixer_gradients_case(70, 4).graph),
                             fused(reverse_states_case(70, 256).graph)})
    for (const Node& node : graph.nodes()) {
      if (node.op != Op::Scan) continue;
      Schedule schedule = default_gpu_schedule(graph, node.kernel);
      schedule.pieces = 4;
      EXPECT_TRUE(can_split(graph, node.kernel, schedule)) << node.name;
    }
}

TEST(GpuSchedules, ProjectionsOutsideAgree) {
  for (const int recompute : {4, 16}) {
    const FuseOptions options{.fuse_projections = false, .recompute = recompute};
    expect_gpu_agreement(mixer_case(70, 4), 17, 1, options);
    expect_gpu_agreement(mixer_gradients_case(70, 4), 18, 1, options);
  }
}

/// What the tests of windows hold only if it is so.
TEST(Schedules, WalksOfWindowsRememberFewSteps) {
  const Graph graph = fused(windows_case(4, true).graph);
  for (const Op op : {Op::Window, Op::Delay}) {
    ASSERT_EQ(kernel_of(graph, op), kernel_of(graph, Op::Window));
    EXPECT_EQ(steps_remembered(graph, kernel_of(graph, op)), 3);  // two taps and a step, but none that lie in memory
  }
}

TEST(Schedules, WindowsOfMemoryRestartFromThere) {
  const Case windows = windows_case(4, false);
  int against = 0;
  for (const Graph& graph : {fused(gradients_of(windows).graph), fused(mixer_gradients_case().graph)})
    for (const Node& node : graph.nodes()) {
      if (node.op != Op::Window || graph.node(node.operands[0]).kernel == node.kernel) continue;
      EXPECT_FALSE(operand(node, "resume").present()) << node.name;
      against += graph.kernels[static_cast<size_t>(node.kernel)].reverse;
    }
  EXPECT_EQ(against, 2);
}

TEST(Schedules, SpansAreWholeTilesOfWalksWithoutScans) {
  const Graph layer = fused(mixer_case().graph);
  const int window = kernel_of(layer, Op::Window), scan = kernel_of(layer, Op::Scan);
  EXPECT_TRUE(steps_remembered(layer, window));
  EXPECT_FALSE(steps_remembered(layer, scan));
  EXPECT_EQ(why_illegal(layer, window, {.tile = 8, .steps_per_task = 16}, DeviceKind::cpu), "");
  expect_refused(layer, window, {.tile = 8, .steps_per_task = 12});
  expect_refused(layer, scan, {.tile = 8, .steps_per_task = 16});
}

/// By axis and value: what a device refuses, although no value would be wrong, and how it says so.
TEST(Schedules, OutOfBoundsAreRefused) {
  const Graph layer = fused(mixer_case().graph);
  const int scan = kernel_of(layer, Op::Scan);
  const auto reason = [&](DeviceKind kind, const std::vector<std::pair<const char*, int>>& axes) {
    Schedule schedule =
        kind == DeviceKind::cpu ? default_schedule(layer, scan, {16}) : default_gpu_schedule(layer, scan);
    for (const auto& [axis, value] : axes) EXPECT_TRUE(schedule.set(axis, value));
    return why_illegal(layer, scan, schedule, kind);
  };
  const auto expect_reason = [&](DeviceKind kind, const std::vector<std::pair<const char*, int>>& axes,
                                 const std::string& expected) {
    EXPECT_NE(reason(kind, axes).find(expected), std::string::npos) << axes[0].first << ": " << reason(kind, axes);
  };
  for (const DeviceKind kind : {DeviceKind::cpu, DeviceKind::gpu}) {
    EXPECT_EQ(reason(kind, {}), "");
    expect_reason(kind, {{"tile", 4096}}, "tile=4096: must be at most 1024: what a tile computes");
    expect_reason(kind, {{"tile", 128}, {"states_in_registers", 1}, {"blocks_per_task", 1}}, "writes all steps out");
    EXPECT_EQ(reason(kind, {{"tile", 128}, {"states_in_registers", 0}, {"pieces", 1}}), "");
    for (const char* axis : {"width", "unroll", "blocks_per_task", "ahead", "chunks", "summing_tasks", "inner_unroll",
                             "row_unroll", "kept_vectors", "rows_together", "columns"})
      expect_reason(kind, {{axis, 1 << 20}}, std::string(axis) + "=1048576: must be at most");
    for (const std::string& axis : Schedule::axes())
      if (!Schedule::is_switch(axis)) expect_reason(kind, {{axis.c_str(), -1}}, axis + "=-1");
  }
  for (const char* axis : {"pieces", "tiles_ahead", "blocks_per_sm", "exp_on_fma", "slots_per_task"})
    expect_reason(DeviceKind::cpu, {{axis, 2}}, "only kernels for a GPU have this axis");
  expect_reason(DeviceKind::gpu, {{"interleave", 2}}, "only kernels for a CPU have this axis");
  expect_reason(DeviceKind::cpu, {{"interleave", 9999}}, "interleave=9999: must be at most 256");
  expect_reason(DeviceKind::gpu, {{"tiles_ahead", 9999}}, "tiles_ahead=9999: must be at most 16");
  expect_reason(DeviceKind::gpu, {{"blocks_per_sm", 32}, {"width", 128}}, "at most 2048 threads");
  expect_reason(DeviceKind::gpu, {{"blocks_per_sm", 8}, {"width", 32}, {"teams", 16}}, "and a block 512 of them");
  expect_reason(DeviceKind::gpu, {{"width", 16}}, "width=16: must be 32 or more");
  EXPECT_TRUE(Schedule::is_switch("staged") && Schedule::is_switch("states_in_registers"));
  EXPECT_FALSE(Schedule::is_switch("tile") || Schedule::is_switch("no axis"));
}

TEST(Schedules, OfALibraryAreAlgorithms) {
  Graph graph;
  Builder b(graph);
  const DimId B = graph.add_dim("B", 0), V = graph.add_dim("V", 50), D = graph.add_dim("D", 64);
  const DimId E = graph.add_dim("E", 48);
  const NodeId table = b.input("table", {DType::f32, {V, D}}), index = b.input("index", {DType::i32, {B}});
  const NodeId row = b.op(Op::Gather, {table, index}, {.dims = {V}});
  graph.outputs() = {{"y", b.Sigmoid(b.dot(row, b.input("w", {DType::f32, {E, D}}), {D}))}};
  const Graph g = fused(graph);
  const int look_up = kernel_of(g, Op::Gather), product = kernel_of(g, Op::Dot), other = kernel_of(g, Op::Sigmoid);
  ASSERT_TRUE(library_node(g, look_up).present() && g.node(library_node(g, product)).op == Op::Dot);
  ASSERT_FALSE(library_node(g, other).present());
  for (const DeviceKind kind : {DeviceKind::cpu, DeviceKind::gpu}) {
    const auto reason = [&](int kernel, int algorithm) {
      Schedule schedule = kind == DeviceKind::cpu ? default_schedule(g, kernel, {16}) : default_gpu_schedule(g, kernel);
      EXPECT_EQ(schedule.algorithm, 0);
      schedule.algorithm = algorithm;
      return why_illegal(g, kernel, schedule, kind);
    };
    for (const int kernel : {look_up, product, other}) EXPECT_EQ(reason(kernel, 0), "");
    for (const int kernel : {look_up, other})
      EXPECT_EQ(reason(kernel, 1), "algorithm=1: only matrix products by a library have this axis");
    EXPECT_EQ(reason(product, Schedule::kLastAlgorithm), "");
    EXPECT_NE(reason(product, 16).find("algorithm=16: must be at most 15"), std::string::npos);
  }
}

/// The CPU's own list is by number, and what a program runs is what its schedule says.
TEST(Schedules, AProgramsProductsAreOfItsAlgorithms) {
  Graph graph;
  Builder b(graph);
  const DimId B = graph.add_dim("B", 0), D = graph.add_dim("D", 96), E = graph.add_dim("E", 80);
  const NodeId x = b.input("x", {DType::f32, {B, D}});
  const NodeId w = b.param("w", {DType::f32, {E, D}}, {"w", {Initialiser::normal, 0, 1}, true});
  graph.outputs() = {{"y", b.dot(x, w, {D})}};
  const Graph g = fused(graph);
  const Layouts layouts(g);
  const Bindings bindings{{"B", 1000}};
  const NodeId node = library_node(g, kernel_of(g, Op::Dot));
  std::vector<NodeId> roots;
  for (const bool constant : {false, true}) {
    const LibraryKernel first{g, layouts, node, bindings, {}, constant};
    const std::vector<std::string> names = cpu_device().library_call(first, &roots)->algorithms();
    ASSERT_GT(names.size(), 1u);
    for (int number = 0; number < static_cast<int>(names.size()); ++number) {
      const LibraryKernel kernel{g, layouts, node, bindings, {.algorithm = number}, constant};
      EXPECT_EQ(cpu_device().library_call(kernel, &roots)->algorithm(), names[static_cast<size_t>(number)]);
      CheckOptions options;
      options.schedule = [=](const Graph&, int) { return Schedule{.algorithm = number}; };
      options.device = &cpu_device();
      EXPECT_EQ(check_on_cpu(graph, bindings, draw_values(graph, bindings, {}, 1), options), "");
    }
    const Program program(g, [](const Graph&, int) { return Schedule{.algorithm = 15}; }, cpu_device());
    EXPECT_EQ(program.schedule(0).algorithm, 15);
    if (names.size() <= 15) {
      EXPECT_THROW(program.instantiate(bindings, {.constant_parameters = constant}), InputError);
      EXPECT_TRUE(program.instantiate(bindings, {.constant_parameters = constant, .first_choice_instead = true}));
    }
  }
}

// What the tests above hold only if it is so.
TEST(Schedules, WalksOfScansCanBeChunked) {
  for (const Case& c : {mixer_case(), scans_case(false), scans_case(true), reverse_states_case()}) {
    const Graph graph = fused(c.graph);
    int scans = 0;
    for (const Node& node : graph.nodes()) {
      if (node.op != Op::Scan) continue;
      ++scans;
      EXPECT_TRUE(can_chunk(graph, node.kernel)) << node.name;
      EXPECT_TRUE(can_keep_states_in_registers(graph, node.kernel)) << node.name;
      const LoweredKernel lowered = lower(graph, Layouts(graph), node.kernel, {.chunks = 3}, DeviceKind::cpu);
      ASSERT_EQ(lowered.kernel.stages.size(), 3u);
      EXPECT_EQ(lowered.kernel.stages[1].name, "join");
    }
    EXPECT_GE(scans, 1);
  }
}

TEST(Schedules, OfForwardWalksThatStoreStatesCanBeChunked) {
  const Graph graph = fused(mixer_gradients_case().graph);
  int stored = 0;
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::ChunkStarts || graph.node(node.operands[0]).op != Op::Scan) continue;
    ++stored;
    EXPECT_TRUE(can_chunk(graph, node.kernel)) << node.name;
  }
  EXPECT_EQ(stored, 1);
}

TEST(Schedules, ChunksDoNotDependOnThreads) {
  const Case c = mixer_case();
  const Bindings bindings{{"B", 2}, {"L", 130}};
  const Arrays values = draw_values(c.graph, bindings, c.ranges, 5);
  const Program program(fused(c.graph), as_far_as_legal({.tile = 8, .blocks_per_task = 1, .chunks = 7}));
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const Arrays one = run_on_cpu(program, bindings, values);
  omp_set_num_threads(4);
  const Arrays four = run_on_cpu(program, bindings, values);
  omp_set_num_threads(before);
  for (const auto& [name, array] : one) EXPECT_EQ(array.data, four.at(name).data) << name;
}

TEST(Schedules, ChunksOfOtherRecurrencesAreRefused) {
  const Graph layer = fused(mixer_case().graph);
  const int window = kernel_of(layer, Op::Window);
  EXPECT_FALSE(can_chunk(layer, window));
  expect_refused(layer, window, {.chunks = 2});
  const Graph gradients = fused(mixer_gradients_case().graph);
  for (const Node& node : gradients.nodes()) {
    if (node.op != Op::Scan || !operand(node, "resume").present()) continue;
    EXPECT_FALSE(can_chunk(gradients, node.kernel));
    expect_refused(gradients, node.kernel, {.tile = 16, .chunks = 2});
  }
}

TEST(Schedules, ChunksOfScansOfScansAndOfSumsOverTimeAreRefused) {
  Graph graph;
  Builder b(graph);
  const DimId B = graph.add_dim("B", 0), L = graph.add_dim("L", 0), D = graph.add_dim("D", 21);
  const NodeId x = b.input("x", {DType::f32, {B, L, D}}), decay = b.input("decay", {DType::f32, {D}});
  const NodeId h = b.scan(decay, x, L);
  Graph twice = graph, sums = graph;
  Builder second(twice), sum(sums);
  twice.outputs() = {{"y", second.scan(decay, second.Mul(h, x), L)}};
  sums.outputs() = {{"y", h}, {"sum", sum.sum(h, {L})}};
  for (const Graph& g : {fused(twice), fused(sums)}) {
    const int kernel = kernel_of(g, Op::Scan);
    EXPECT_FALSE(can_chunk(g, kernel));
    EXPECT_TRUE(can_keep_states_in_registers(g, kernel));
    expect_refused(g, kernel, {.chunks = 2});
  }
}

TEST(Schedules, SumsOverLanesWithStatesInRegistersAreRefused) {
  Graph graph;
  Builder b(graph);
  const DimId B = graph.add_dim("B", 0), L = graph.add_dim("L", 0), D = graph.add_dim("D", 37);
  const NodeId x = b.input("x", {DType::f32, {B, L, D}}), decay = b.input("decay", {DType::f32, {D}});
  const NodeId h = b.scan(decay, x, L);
  graph.outputs() = {{"h", h}, {"sum", b.sum(b.Mul(h, x), {D})}};
  const Graph g = fused(graph);
  const int kernel = kernel_of(g, Op::Scan);
  ASSERT_EQ(kernel, kernel_of(g, Op::Sum));
  EXPECT_FALSE(can_keep_states_in_registers(g, kernel));
  EXPECT_FALSE(can_chunk(g, kernel));
  expect_refused(g, kernel, {.states_in_registers = true});
}

}  // namespace
}  // namespace mambac::test
