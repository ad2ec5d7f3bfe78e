// Every barrier of the generated kernels is needed: without any one of them, the emulation device reports a race.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "codegen/cuda/cuda_emit.h"
#include "codegen/lower.h"
#include "ir/eval.h"
#include "passes/pipeline.h"
#include "runtime/cuda/emulator.h"
#include "tests/mixer.h"

namespace mambac::test {
namespace {

const std::string kBarrier = "__syncthreads();";

/// A kernel with one more size: the number of the barrier, or other statement, that a run leaves out.
class Mutants {
 public:
  Mutants(const Graph& fused, LoweredKernel lowered, const std::string& statement)
      : fused_(fused), lowered_(std::move(lowered)) {
    lowered_.kernel.sizes.push_back("WITHOUT");
    std::string text = cuda_emit::emit(lowered_.kernel);
    for (size_t at = text.find(statement); at != std::string::npos; at = text.find(statement, at)) {
      const std::string numbered = fmt::format("if (WITHOUT != {}) {}", count_++, statement);
      text.replace(at, statement.size(), numbered);
      at += numbered.size();
    }
    module_ = EmulatedModule::compile(text);
  }

  size_t count() const { return count_; }

  void run(const Bindings& bindings) const { run_without(count_, bindings); }

  /// On zeros: who touches what and when does not depend on what the numbers are.
  void run_without(size_t barrier, const Bindings& bindings) const {
    const loop::Kernel& kernel = lowered_.kernel;
    Bindings all = bindings;
    all["WITHOUT"] = static_cast<int64_t>(barrier);
    std::vector<int64_t> sizes;
    for (const std::string& size : kernel.sizes) sizes.push_back(all.at(size));
    std::vector<std::vector<char>> memory;
    std::vector<EmulatedArgument> arguments;
    for (const KernelBuffer& buffer : lowered_.buffers) {
      const int64_t elements = buffer.root.present() ? elements_of(fused_, fused_.node(buffer.root).type, bindings)
                                                     : loop::evaluate(buffer.elements, {}, sizes);
      memory.emplace_back(static_cast<size_t>(elements) * sizeof(float) + 64, '\0');
      arguments.emplace_back(EmulatedBuffer{memory.back().data(), elements});
    }
    for (const int64_t size : sizes) arguments.emplace_back(size);
    for (size_t i = 0; i < kernel.stages.size(); ++i)
      module_->launch(cuda_emit::stage_symbol(kernel, i), loop::evaluate(kernel.stages[i].tasks, {}, sizes),
                      threads_of(kernel, kernel.stages[i]), arguments, {.check_global_races = true});
  }

 private:
  const Graph& fused_;
  LoweredKernel lowered_;
  size_t count_ = 0;
  std::shared_ptr<const EmulatedModule> module_;
};

/// Three warps of a block have channels, the last one some.
Graph fused_mixer(GraphKind kind, DType storage, bool starts, int64_t channels = 70, int64_t states = 4,
                  int64_t rank = 2) {
  MixerOptions options{
      .channels = channels, .states = states, .rank = rank, .starts = starts, .loss = kind == GraphKind::train};
  PipelineOptions pipeline;
  pipeline.kind = kind;
  pipeline.storage = storage;
  return run_pipeline(make_mixer(options).graph, pipeline).graph;
}

struct Found {
  size_t forward = 0, backward = 0;  // statements of kernels with a scan
};

bool has_scan(const Graph& fused, int kernel) {
  return std::any_of(fused.nodes().begin(), fused.nodes().end(),
                     [&](const Node& node) { return node.kernel == kernel && node.op == Op::Scan; });
}

/// A tile of time is followed by others and by a short one, or there is only a short one.
const Bindings kSizes[] = {{{"B", 2}, {"L", 37}}, {{"B", 2}, {"L", 5}}};

bool is_reported(const Mutants& mutants, size_t barrier) {
  return std::any_of(std::begin(kSizes), std::end(kSizes), [&](const Bindings& sizes) {
    try {
      mutants.run_without(barrier, sizes);
    } catch (const DeviceFault&) {
      return true;
    }
    return false;
  });
}

/// Removes each barrier, or other statement, of each kernel of the graph. `change`: of the schedules of scans.
Found expect_needed(const Graph& fused, const std::function<void(Schedule&, int kernel)>& change = {},
                    const std::string& statement = kBarrier) {
  const Layouts layouts(fused);
  Found found;
  for (int k = 0; k < static_cast<int>(fused.kernels.size()); ++k) {
    const KernelGroup& group = fused.kernels[static_cast<size_t>(k)];
    if (group.kind == KernelGroup::library) continue;
    Schedule schedule = default_gpu_schedule(fused, k);
    if (schedule.steps_per_task > 0) schedule.steps_per_task = schedule.tile;  // several spans of these lengths
    if (change && has_scan(fused, k)) change(schedule, k);
    const Mutants mutants(fused, lower(fused, layouts, k, schedule, DeviceKind::gpu), statement);
    for (const Bindings& sizes : kSizes) EXPECT_NO_THROW(mutants.run(sizes)) << group.name;
    for (size_t i = 0; i < mutants.count(); ++i)
      EXPECT_TRUE(is_reported(mutants, i)) << group.name << " without " << statement << i << "\n" << schedule.str();
    if (has_scan(fused, k)) (group.reverse ? found.backward : found.forward) += mutants.count();
  }
  return found;
}

void expect_some_needed(GraphKind kind, const Found& found) {
  EXPECT_GT(found.forward, 0u);
  EXPECT_EQ(found.backward > 0, kind == GraphKind::train);
}

constexpr GraphKind kKinds[] = {GraphKind::train, GraphKind::prefill};

using Combination = std::tuple<GraphKind, DType, bool>;
constexpr Combination kCombinations[] = {
    {GraphKind::train, DType::f32, false},   {GraphKind::train, DType::f32, true},
    {GraphKind::train, DType::bf16, false},  {GraphKind::prefill, DType::f32, false},
    {GraphKind::prefill, DType::f32, true},  {GraphKind::prefill, DType::bf16, false}};

class Barriers : public testing::TestWithParam<Combination> {};

TEST_P(Barriers, AreNeeded) {
  const auto [kind, storage, starts] = GetParam();
  expect_some_needed(kind, expect_needed(fused_mixer(kind, storage, starts)));
}

TEST_P(Barriers, OfChannelsInPiecesAreNeeded) {
  const auto [kind, storage, starts] = GetParam();
  const Graph fused = fused_mixer(kind, storage, starts);
  size_t split = 0;
  expect_some_needed(kind, expect_needed(fused, [&](Schedule& schedule, int kernel) {
                       schedule.pieces = 4;
                       split += can_split(fused, kernel, schedule);
                       if (!can_split(fused, kernel, schedule)) schedule.pieces = 1;
                     }));
  EXPECT_GT(split, 0u);
}

INSTANTIATE_TEST_SUITE_P(Mixer, Barriers,
                         testing::ValuesIn(kCombinations),
                         [](const auto& info) {
                           return fmt::format("{}_{}{}", name_of(std::get<0>(info.param)),
                                              name_of(std::get<1>(info.param)),
                                              std::get<2>(info.param) ? "_packed" : "");
                         });

TEST(BarriersOfSchedules, OfChunksAreNeeded) {
  const Graph fused = fused_mixer(GraphKind::prefill, DType::f32, true);
  size_t cut = 0;
  expect_some_needed(GraphKind::prefill, expect_needed(fused, [&](Schedule& schedule, int kernel) {
                       ASSERT_TRUE(can_chunk(fused, kernel));
                       schedule.chunks = 3;
                       ++cut;
                     }));
  EXPECT_GT(cut, 0u);
}

/// A step whose projection is left in parts; tasks have several blocks, so that what a block shares is filled again.
TEST(BarriersOfSchedules, OfPartsAreNeeded) {
  PipelineOptions pipeline;
  pipeline.kind = GraphKind::step;
  pipeline.fuse = gpu_fuse_options();
  pipeline.fuse.library_contractions = false;
  const Graph fused = run_pipeline(make_mixer({.width = 96, .channels = 64, .states = 4}).graph, pipeline).graph;
  const auto in_parts = [&](int kernel) {
    return std::any_of(fused.nodes().begin(), fused.nodes().end(),
                       [&](const Node& node) { return node.kernel == kernel && node.op == Op::PartDot; });
  };
  int parts = 0, adding = 0;
  const Layouts layouts(fused);
  for (int k = 0; k < static_cast<int>(fused.kernels.size()); ++k) {
    Schedule schedule = default_gpu_schedule(fused, k);
    if (schedule.teams == 1) continue;
    (in_parts(k) ? parts : adding) += 1;
    if (in_parts(k)) schedule.rows_per_task = 32;
    const Mutants mutants(fused, lower(fused, layouts, k, schedule, DeviceKind::gpu), kBarrier);
    EXPECT_NO_THROW(mutants.run(kSizes[0]));
    EXPECT_EQ(mutants.count(), in_parts(k) ? 2u : 1u);
    for (size_t i = 0; i < mutants.count(); ++i) EXPECT_TRUE(is_reported(mutants, i)) << k << " without " << i;
  }
  EXPECT_EQ(parts, 1);
  EXPECT_EQ(adding, 1);
}

/// In one piece and in chunks: what lanes that share time read of shared memory has been written by others.
TEST(BarriersOfSchedules, OfLanesThatShareTimeAreNeeded) {
  const Graph fused = fused_mixer(GraphKind::prefill, DType::bf16, true, 10);
  for (const int chunks : {1, 3})
    expect_some_needed(GraphKind::prefill, expect_needed(fused, [&](Schedule& schedule, int kernel) {
                         schedule.width = 64;
                         schedule.pieces = 1;
                         schedule.time_lanes = 4;
                         schedule.chunks = chunks;
                         ASSERT_EQ(why_illegal(fused, kernel, schedule, DeviceKind::gpu), "");
                       }));
}

/// Rings of one tile and of two; the barriers around what is read of them, and the waits for copies.
TEST(BarriersOfSchedules, AndWaitsOfCopiesAheadAreNeeded) {
  const Graph fused = fused_mixer(GraphKind::prefill, DType::bf16, false, 70, 8, 8);
  for (const int copies : {1, 2}) {
    const auto change = [=](Schedule& schedule, int) { schedule.copies_ahead = copies; };
    for (const std::string& statement : {kBarrier, fmt::format("mb_copy_wait<{}>();", copies - 1)})
      expect_some_needed(GraphKind::prefill, expect_needed(fused, change, statement));
  }
}

/// Two blocks of lanes of a task, states in registers or not.
TEST(BarriersOfSchedules, OfSeveralLaneBlocksAreNeeded) {
  for (const GraphKind kind : kKinds)
    for (const bool registers : {false, true}) {
      const Graph fused = fused_mixer(kind, DType::f32, false, 200);
      expect_some_needed(kind, expect_needed(fused, [&](Schedule& schedule, int kernel) {
                           schedule.blocks_per_task = 2;
                           schedule.states_in_registers = registers && can_keep_states_in_registers(fused, kernel);
                         }));
    }
}

}  // namespace
}  // namespace mambac::test
