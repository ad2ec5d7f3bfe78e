// Lanes that share the time of a channel: the same values as a walk of one lane, whatever their number and order.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "codegen/cuda/cuda_emit.h"
#include "codegen/loop_interpret.h"
#include "codegen/loop_verify.h"
#include "ir/builder.h"
#include "runtime/cpu_device.h"
#include "runtime/cuda/emulator.h"
#include "tests/device_check.h"
#include "tests/schedule_cases.h"

namespace mambac::test {
namespace {

// ---- the maps of neighbouring lanes ---------------------------------------------------------------------------------

/// out[lane * 4 + result] = a result of ScanPieces of a and b, where a channel has so many of 64 lanes.
loop::Kernel scan_kernel(int pieces) {
  loop::Kernel kernel;
  kernel.name = "maps";
  kernel.buffers = {{"a", DType::f32}, {"b", DType::f32}, {"out", DType::f32, true}};
  kernel.schedule.width = 64;
  loop::Stage& stage = kernel.stages.emplace_back();
  stage.name = "s";
  stage.tasks = loop::constant(1);
  stage.pieces = pieces;
  loop::StageBuilder b(stage);
  const loop::Int piece = loop::piece(pieces), of_channel = loop::constant(pieces);
  const auto maps = b.scan_pieces(b.load(0, piece, of_channel), b.load(1, piece, of_channel));
  int64_t place = 0;
  for (const loop::Value v : {maps.a_before, maps.b_before, maps.a_all, maps.b_all})
    b.store(2, piece * 4 + place++, v, of_channel * 4);
  verify(kernel);
  return kernel;
}

class Maps : public testing::TestWithParam<int> {
 protected:
  Maps() {
    Random random(3);
    for (int i = 0; i < 64; ++i) {
      a.push_back(static_cast<float>(random.uniform(-1.2, 1.2)));
      b.push_back(static_cast<float>(random.uniform(-1, 1)));
    }
  }

  /// A state ends at a decay of 0; then nothing grows, until something is there again.
  void grow_out_of_nothing() {
    for (size_t i = 0; i < a.size(); ++i) {
      const size_t piece = i % static_cast<size_t>(GetParam());
      a[i] = piece == 1 ? 0.f : 1e30f;
      b[i] = piece == 0 || piece + 1 == static_cast<size_t>(GetParam()) ? 0.5f : 0.f;
    }
  }

  void expect_states(const std::vector<float>& found) const {
    for (size_t i = 0; i < a.size(); ++i) {
      const bool first = i % static_cast<size_t>(GetParam()) == 0;
      const float before = found[i * 4 + 1];
      const float after = (i + 1) % static_cast<size_t>(GetParam()) == 0 ? found[i * 4 + 3] : found[(i + 1) * 4 + 1];
      EXPECT_EQ(after, (first ? 0 : a[i] * before) + b[i]) << i;
    }
  }

  void expect_maps(const std::vector<float>& found) const {
    const int pieces = GetParam();
    for (int first = 0; first < 64; first += pieces) {
      double product = 1, state = 0;
      for (int i = first; i < first + pieces; ++i) {
        EXPECT_NEAR(found[i * 4], product, 1e-6 * (1 + std::fabs(product))) << i;
        EXPECT_NEAR(found[i * 4 + 1], state, 4e-6) << i;
        state = a[i] * state + b[i];
        product *= a[i];
      }
      for (int i = first; i < first + pieces; ++i) {
        EXPECT_NEAR(found[i * 4 + 2], product, 1e-6 * (1 + std::fabs(product))) << i;
        EXPECT_NEAR(found[i * 4 + 3], state, 4e-6) << i;
      }
    }
  }

  std::vector<float> a, b;
};

TEST_P(Maps, OfTheInterpreter) {
  std::vector<float> out(64 * 4);
  void* const buffers[] = {a.data(), b.data(), out.data()};
  interpret(scan_kernel(GetParam()), buffers, nullptr, nullptr);
  expect_maps(out);
}

TEST_P(Maps, OfGrowthOutOfNothing) {
  grow_out_of_nothing();
  std::vector<float> interpreted(64 * 4), emulated(64 * 4);
  void* const buffers[] = {a.data(), b.data(), interpreted.data()};
  interpret(scan_kernel(GetParam()), buffers, nullptr, nullptr);
  expect_states(interpreted);
  const EmulatedArgument arguments[] = {EmulatedBuffer{a.data(), 64}, EmulatedBuffer{b.data(), 64},
                                        EmulatedBuffer{emulated.data(), 64 * 4}};
  EmulatedModule::compile(cuda_emit::emit(scan_kernel(GetParam())))->launch("maps", 1, 64, arguments, {});
  expect_states(emulated);
}

TEST_P(Maps, DoNotDependOnTheOrderOfThreads) {
  const auto module = EmulatedModule::compile(cuda_emit::emit(scan_kernel(GetParam())));
  std::vector<float> first;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    std::vector<float> out(64 * 4);
    const EmulatedArgument arguments[] = {EmulatedBuffer{a.data(), 64}, EmulatedBuffer{b.data(), 64},
                                          EmulatedBuffer{out.data(), 64 * 4}};
    module->launch("maps", 1, 64, arguments, {.seed = seed, .check_global_races = true});
    expect_maps(out);
    if (seed == 0) first = out;
    EXPECT_EQ(out, first);
  }
}

INSTANTIATE_TEST_SUITE_P(Pieces, Maps, testing::Values(2, 8, 32, 64));

// ---- walks ----------------------------------------------------------------------------------------------------------

/// Of [B, L] alone: one channel for each sequence. With what ends are made of, and from the end.
Case sequences_case(bool reverse) {
  Case c;
  Builder b(c.graph);
  const DimId B = c.graph.add_dim("B", 0), L = c.graph.add_dim("L", 0);
  const NodeId x = b.input("x", {DType::f32, {B, L}}), p = b.input("p", {DType::f32, {B, L}});
  const NodeId rate = b.input("rate", {DType::f32, {B}}), first = b.input("first", {DType::f32, {B}});
  const NodeId starts = b.input("starts", {DType::f32, {B, L}});
  const NodeId h = b.scan(b.Sigmoid(b.Mul(p, rate)), b.Mul(x, rate), L, reverse, first, starts);
  const NodeId y = b.Mul(h, p);
  c.graph.outputs() = {
      {"y", y}, {"h.last", b.at(h, L, reverse ? 0 : -1)}, {"y.first", b.at(y, L, 0)}, {"y.last", b.at(y, L, -1)}};
  c.ranges = {{"starts", {Range::mask, 0, 0.1}}};
  return c;
}

/// States that are stored at every step, without starts, and ends of values that are no states.
Case stored_states_case(bool reverse, int64_t channels) {
  Case c;
  Builder b(c.graph);
  const DimId B = c.graph.add_dim("B", 0), L = c.graph.add_dim("L", 0), D = c.graph.add_dim("D", channels);
  const NodeId x = b.input("x", {DType::f32, {B, L, D}}), decay = b.input("decay", {DType::f32, {D}});
  const NodeId h = b.scan(b.Sigmoid(decay), x, L, reverse), y = b.Mul(h, x);
  c.graph.outputs() = {
      {"h", h}, {"y.first", b.at(y, L, 0)}, {"y.last", b.at(y, L, -1)}, {"h.last", b.at(h, L, reverse ? 0 : -1)}};
  return c;
}

/// Of a walk and the one back, which depends on a product of all channels: the first stores states for the second.
Case walk_back_case() {
  Case c;
  Builder b(c.graph);
  const DimId B = c.graph.add_dim("B", 0), L = c.graph.add_dim("L", 0), D = c.graph.add_dim("D", 13);
  const DimId N = c.graph.add_dim("N", 4), E = c.graph.add_dim("E", 9);
  const NodeId x = b.input("x", {DType::f32, {B, L, D}}), k = b.input("k", {DType::f32, {B, L, N}});
  const NodeId rate = b.input("rate", {DType::f32, {D, N}}), w = b.input("w", {DType::f32, {D, E}});
  const NodeId h = b.scan(b.Sigmoid(b.Mul(x, rate)), b.Mul(x, k), L);
  const NodeId out = b.dot(b.sum(b.Mul(h, k), {N}), w, {D});
  c.graph.outputs() = {{"z", b.Mul(out, out)}};
  return gradients_of(c);
}

struct Mapping {
  int width, lanes, tile, chunks = 1;
};

Schedule schedule_of(const Mapping& mapping) {
  return {.width = mapping.width,
          .tile = mapping.tile,
          .states_in_registers = true,
          .blocks_per_task = 1,
          .ahead = 0,
          .time_lanes = mapping.lanes,
          .staged = true,
          .chunks = mapping.chunks,
          .tiles_ahead = 2};
}

/// The tests' device where it is a GPU, or stands for one.
Device& gpu() {
  return &test_device() == &cpu_device() ? emulated_device() : test_device();
}

/// Walks of scans go as the mapping says, others as the device likes.
void expect_agreement(const Case& c, const Mapping& mapping, const Bindings& bindings, const Arrays& values) {
  int mapped = 0;
  CheckOptions options;
  options.device = &gpu();
  options.schedule = [&](const Graph& fused, int number) {
    const Schedule wanted = schedule_of(mapping);
    const bool walk = fused.kernels[static_cast<size_t>(number)].kind == KernelGroup::walk;
    if (!walk || !why_illegal(fused, number, wanted, DeviceKind::gpu).empty()) return default_gpu_schedule(fused, number);
    ++mapped;
    return wanted;
  };
  std::string found;
  try {
    found = check_on_cpu(c.graph, bindings, values, options);
  } catch (const Failure& failure) {
    found = failure.what();
  }
  EXPECT_EQ(found, "") << schedule_of(mapping).str() << fmt::format(" B={} L={}", bindings.at("B"), bindings.at("L"));
  EXPECT_EQ(mapped, 1) << schedule_of(mapping).str();
}

void expect_agreement(const Case& c, const Mapping& mapping, int64_t batch, int64_t length) {
  const Bindings bindings{{"B", batch}, {"L", length}};
  expect_agreement(c, mapping, bindings, draw_values(c.graph, bindings, c.ranges, 7));
}

// A block has one, two, four or 32 of 13 channels; a tile is followed by others and a short one, or is all there is.
TEST(TimeLanes, OfALayerAgree) {
  expect_agreement(mixer_case(13, 4), {32, 8, 16}, 2, 65);
  expect_agreement(mixer_case(13, 4), {64, 64, 128}, 1, 300);
}

TEST(TimeLanes, OfALayerInChunksAgree) {
  expect_agreement(mixer_case(13, 4), {32, 8, 16, 3}, 2, 65);
}

TEST(TimeLanes, OfScansWithAndWithoutChannelsAgree) {
  for (const bool reverse : {false, true}) {
    expect_agreement(scans_case(reverse, 5), {32, 8, 8}, 2, 37);
    expect_agreement(scans_case(reverse, 5), {64, 32, 64, 3}, 1, 200);
  }
}

TEST(TimeLanes, OfGrowthOutOfNothingAgree) {
  const Bindings bindings{{"B", 1}, {"L", 300}};
  for (const bool reverse : {false, true})
    for (const Mapping& mapping : {Mapping{32, 8, 128}, Mapping{64, 64, 128}, Mapping{32, 4, 16, 2}}) {
      const Case c = growth_case(reverse, 5);
      expect_agreement(c, mapping, bindings, growth_values(c, bindings, reverse));
    }
}

TEST(TimeLanes, OfSummedStatesFromTheEndAgree) {
  expect_agreement(reverse_states_case(5, 4), {32, 16, 32}, 1, 65);
  expect_agreement(reverse_states_case(5, 3), {64, 2, 8}, 1, 1);
  expect_agreement(reverse_states_case(5, 4), {32, 2, 2, 3}, 2, 7);
}

TEST(TimeLanes, OfStoredStatesAndEndsAgree) {
  for (const bool reverse : {false, true})
    for (const int64_t length : {1, 37}) expect_agreement(stored_states_case(reverse, 5), {32, 8, 16}, 2, length);
}

TEST(TimeLanes, OfSequencesWithoutChannelsAgree) {
  for (const bool reverse : {false, true}) {
    expect_agreement(sequences_case(reverse), {32, 32, 64}, 2, 100);
    expect_agreement(sequences_case(reverse), {64, 64, 64, 3}, 1, 200);
  }
}

/// States are stored where tiles begin, for a walk back.
TEST(TimeLanes, OfAWalkThatStoresStatesAgree) {
  EXPECT_EQ(kernel_of(fused(walk_back_case().graph), Op::ChunkStarts), 0);
  expect_agreement(walk_back_case(), {32, 4, 8}, 2, 37);
}

// ---- what is legal --------------------------------------------------------------------------------------------------

TEST(TimeLanes, AreRefusedWhereTheyMakeNoSense) {
  const Graph layer = fused(mixer_case(13, 4).graph), sequences = fused(sequences_case(false).graph);
  const int scan = kernel_of(layer, Op::Scan), window = kernel_of(layer, Op::Window);
  const auto expect_refused = [](const Graph& graph, int kernel, const Schedule& schedule, const std::string& part) {
    EXPECT_NE(why_illegal(graph, kernel, schedule, DeviceKind::gpu).find(part), std::string::npos)
        << why_illegal(graph, kernel, schedule, DeviceKind::gpu) << " " << schedule.str();
    EXPECT_THROW(lower(graph, Layouts(graph), kernel, schedule, DeviceKind::gpu), InternalError);
  };
  const auto with = [](const Mapping& mapping, const auto& change) {
    Schedule schedule = schedule_of(mapping);
    change(schedule);
    return schedule;
  };
  EXPECT_EQ(why_illegal(layer, scan, schedule_of({32, 8, 16}), DeviceKind::gpu), "");
  expect_refused(layer, scan, schedule_of({32, 0, 16}), "1 or more");
  expect_refused(layer, scan, schedule_of({32, 3, 24}), "power of two");
  expect_refused(layer, scan, schedule_of({128, 64, 64}), "more than 32");
  expect_refused(layer, scan, schedule_of({32, 16, 24}), "divide the tile");
  expect_refused(layer, scan, with({32, 4, 16}, [](Schedule& s) { s.pieces = 2; }), "pieces");
  for (const auto& change :
       {+[](Schedule& s) { s.staged = false; }, +[](Schedule& s) { s.states_in_registers = false; },
        +[](Schedule& s) { s.blocks_per_task = 2; }})
    expect_refused(layer, scan, with({32, 4, 16}, change), "needs states_in_registers=1");
  expect_refused(layer, window, schedule_of({32, 4, 16}), "recurrences other than scans");
  expect_refused(sequences, kernel_of(sequences, Op::Scan), schedule_of({64, 32, 64}), "without channels");
  EXPECT_NE(why_illegal(layer, scan, schedule_of({32, 4, 16}), DeviceKind::cpu).find("only kernels for a GPU"),
            std::string::npos);
}

}  // namespace
}  // namespace mambac::test
