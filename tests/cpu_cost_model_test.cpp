// What kernels would take on described CPUs: their machine code, which need not run here.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "codegen/llvm_jit.h"
#include "codegen/lower.h"
#include "codegen/machine/instruction_runs.h"
#include "codegen/machine/numbered.h"
#include "ir/error.h"
#include "runtime/cpu_device.h"
#include "tests/temporary_folder.h"
#include "tools/cache_lines.h"
#include "tools/compile.h"
#include "tools/cost_model.h"
#include "tools/cpu_cost_model.h"
#include "tools/cpus.h"
#include "tools/processor_clocks.h"
#include "tools/tune_predict.h"
#include "tools/tune_quality.h"

namespace mambac::tools {
namespace {

constexpr const char* kChain = R"(
free B, L

model chain<D = 48>(a: [B, L, D], b: [B, L, D]) -> [B, L, D] {
  return h = scan<L>(a, b)
}
)";

constexpr const char* kSelective = R"(
free B, L

model selective<D = 1536, N = 16>(dt: [B, L, D], u: [B, L, D], rate: [D, N], gain: [B, L, N], read: [B, L, N])
    -> [B, L, D] {
  h = scan<L>(exp(dt * rate), dt * gain * u)
  return y = sum<N>(h * read)
}
)";

constexpr const char* kNorm = R"(
free B, L

model norm<D = 768>(x: [B, L, D], weight: [D]) -> [B, L, D] {
  return y = x / sqrt(sum<D>(x * x)) * weight
}
)";

Graph fused(const char* text, const Bindings& sizes) {
  return run_pipeline(instantiate(model_from_text(text, "test")), options_for(GraphKind::eval, DType::f32, sizes))
      .graph;
}

/// On znver4, with these axes in the place of those of its default.
Schedule with(const Graph& graph, const std::vector<std::pair<const char*, int>>& axes) {
  Schedule schedule = default_schedule(graph, 0, {16, true});
  for (const auto& [axis, value] : axes) EXPECT_TRUE(schedule.set(axis, value)) << axis;
  EXPECT_EQ(why_illegal(graph, 0, schedule, DeviceKind::cpu), "");
  return schedule;
}

loop::Kernel lowered(const Graph& graph, const Schedule& schedule) {
  return lower(graph, Layouts(graph), 0, schedule, DeviceKind::cpu).kernel;
}

std::vector<int64_t> values_of(const loop::Kernel& kernel, const Bindings& sizes) {
  std::vector<int64_t> values;
  for (const std::string& name : kernel.sizes) values.push_back(sizes.at(name));
  return values;
}

/// How often all tasks run instructions whose name begins so.
double runs_of(const loop::Kernel& kernel, const ProcessorCode& code, const Bindings& sizes, const std::string& name) {
  double sum = 0;
  const std::vector<int64_t> values = values_of(kernel, sizes);
  for (size_t i = 0; i < kernel.stages.size(); ++i) {
    const ProcessorCode::Stage& made = code.stages()[i];
    const int64_t tasks = loop::evaluate(kernel.stages[i].tasks, {}, values);
    for (int64_t task = 0; task < tasks; ++task) {
      const machine::NestRuns nest = made.nest.count(kernel.stages[i].task, task, values);
      const std::vector<double> runs = machine::instruction_runs(made.function, made.nest, nest, 1);
      for (size_t k = 0; k < runs.size(); ++k)
        if (made.function.instructions[k].opcode.starts_with(name)) sum += runs[k];
    }
  }
  return sum;
}

TEST(ProcessorCode, InstructionsRunAsOftenAsTheirStatements) {
  const Jit jit("znver4");
  const Bindings sizes{{"B", 2}, {"L", 37}};
  const Graph graph = fused(kChain, sizes);
  for (const auto& [tile, in_registers, blocks] : {std::tuple{1, 0, 1},
                                                   {1, 0, 3},
                                                   {1, 1, 1},
                                                   {1, 1, 3},
                                                   {4, 0, 2},
                                                   {8, 0, 3},
                                                   {8, 1, 1},
                                                   {16, 0, 1},
                                                   {64, 0, 3}}) {
    const Schedule schedule =
        with(graph, {{"tile", tile}, {"states_in_registers", in_registers}, {"blocks_per_task", blocks}});
    const loop::Kernel kernel = lowered(graph, schedule);
    const auto code = jit.processor_code(kernel);
    // Each step of each block of 16 lanes is one multiply-add. Of steps beyond the end it is only known how many there
    // are on the average.
    EXPECT_NEAR(runs_of(kernel, *code, sizes, "VFMADD"), 2 * 37 * 3, 5) << schedule.str();
  }
}

/// Of two rows of a task that has loops for eight together, and one for those that are left.
TEST(ProcessorCode, WhatComesBehindALoopThatDoesNotRunDoes) {
  const Jit jit("znver4");
  const Bindings sizes{{"B", 1}, {"L", 512}};
  const Graph graph = fused(kNorm, sizes);
  const loop::Kernel kernel = lowered(graph, with(graph, {{"rows_per_task", 2}, {"rows_together", 8}}));
  EXPECT_NEAR(runs_of(kernel, *jit.processor_code(kernel), sizes, "VFMADD"), 512 * 48, 512 * 2);  // squares
}

TEST(ProcessorCode, WhatWaitsForEachOtherTakesItsLatency) {
  const Jit jit("znver4");
  const Graph graph = fused(kChain, {{"B", 1}, {"L", 1}});
  const loop::Kernel kernel =
      lowered(graph, with(graph, {{"tile", 1}, {"states_in_registers", 1}, {"blocks_per_task", 1}, {"ahead", 0}}));
  const auto code = jit.processor_code(kernel);
  const auto clocks = [&](int64_t length) {
    const std::vector<int64_t> values = values_of(kernel, {{"B", 1}, {"L", length}});
    const ProcessorCode::Stage& made = code->stages()[0];
    const machine::NestRuns nest = made.nest.count(kernel.stages[0].task, 0, values);
    return processor_clocks(*code, 0, machine::instruction_runs(made.function, made.nest, nest, 1), 1).clocks;
  };
  // A multiply-add of Zen 4 has its result after four clocks, and the next step needs it.
  EXPECT_NEAR((clocks(2048) - clocks(1024)) / 1024, 4, 0.5);
}

/// Of short rows, each a task, whose quotients wait for their sums.
TEST(ProcessorCode, TasksBeginBeforeTheOnesBeforeThemEnd) {
  const Jit jit("znver4");
  const Bindings sizes{{"B", 1}, {"L", 512}};
  std::string text = kNorm;
  text.replace(text.find("768"), 3, "64");
  const Graph graph = fused(text.c_str(), sizes);
  const loop::Kernel kernel = lowered(graph, with(graph, {{"rows_per_task", 1}, {"rows_together", 1}}));
  const auto code = jit.processor_code(kernel);
  const ProcessorCode::Stage& made = code->stages()[0];
  const machine::NestRuns nest = made.nest.count(kernel.stages[0].task, 0, values_of(kernel, sizes));
  const std::vector<double> runs = machine::instruction_runs(made.function, made.nest, nest, 1);
  const ProcessorClocks alone = processor_clocks(*code, 0, runs, 1), many = processor_clocks(*code, 0, runs, 256);
  EXPECT_EQ(alone.instructions, many.instructions);
  EXPECT_GT(many.clocks, alone.instructions / code->issue_width());
  EXPECT_LT(many.clocks, 0.5 * alone.clocks);
}

TEST(ProcessorCode, UnknownProcessorsAreMistakes) {
  EXPECT_NE(message_of<InputError>([] { Jit("zen4"); }).find("zen4"), std::string::npos);
}

/// One task that loads from buffers of f32, 16 at a time.
template <class Body>
loop::Kernel loading(const Body& body) {
  loop::Kernel kernel;
  kernel.schedule.width = 16;
  kernel.buffers = {{"x", DType::f32}, {"y", DType::f32}};
  loop::Stage stage;
  stage.tasks = loop::constant(1);
  loop::StageBuilder builder(stage);
  body(builder);
  kernel.stages.push_back(std::move(stage));
  return kernel;
}

/// Loads of 16 f32 in two loops: offset = outer * outer_step + inner * inner_step. `times`: one loop after the other;
/// `together`: in one loop, each of its part of outer_step.
loop::Kernel loads(int64_t outer, int64_t outer_step, int64_t inner, int64_t inner_step, int times = 1,
                   int together = 1) {
  return loading([&](loop::StageBuilder& builder) {
    const loop::Int i = builder.open_for(loop::constant(0), loop::constant(outer));
    for (int n = 0; n < times; ++n) {
      const loop::Int k = builder.open_for(loop::constant(0), loop::constant(inner));
      for (int row = 0; row < together; ++row)
        builder.load(0, i * outer_step + row * (outer_step / together) + k * inner_step, loop::constant(1));
      builder.close();
    }
    builder.close();
  });
}

LateLines late(const loop::Kernel& kernel, const NearMemory& memory = {}) {
  return late_lines(MemoryAccesses(kernel, kernel.stages[0], 0, 1, {}), memory);
}

TEST(LateLines, AreTheFirstOfEachPieceOfMemory) {
  EXPECT_EQ(late(loads(64, 16 * 48, 48, 16)).unforeseen, 4);              // rows one behind the other: one piece
  EXPECT_EQ(late(loads(64, 16 * 96, 48, 16)).unforeseen, 64 * 4);         // rows with gaps: one piece each
  EXPECT_EQ(late(loads(64, 16, 8, 16 * 4096)).unforeseen, 8 * 4);         // eight rows side by side
  EXPECT_EQ(late(loads(64, 16, 4096, 16 * 4096)).unforeseen, 64 * 4096);  // too many for that
}

/// Rows of two buffers side by side are twice as many.
TEST(LateLines, AreAllOfMorePiecesThanPrefetchersFollow) {
  const auto unforeseen = [](int buffers) {
    return late(loading([&](loop::StageBuilder& builder) {
             const loop::Int i = builder.open_for(loop::constant(0), loop::constant(64));
             const loop::Int row = builder.open_for(loop::constant(0), loop::constant(64));
             for (int buffer = 0; buffer < buffers; ++buffer)
               builder.load(buffer, i * 16 + row * (16 * 4096), loop::constant(1));
             builder.close();
             builder.close();
           }))
        .unforeseen;
  };
  EXPECT_EQ(unforeseen(1), 64 * 4);
  EXPECT_EQ(unforeseen(2), 2 * 64 * 64);
}

/// Rows that are read together leave out what the others have read. Of more than four the first lines of what comes then
/// are late, and as many were brought for nothing; where it is near, they run on into it.
TEST(LateLines, AreThoseOfRowsThatAreReadTogetherButNotNear) {
  const auto unforeseen = [](int64_t vectors, int together) {
    return late(loads(64 / together, 16 * vectors * together, vectors, 16, 1, together)).unforeseen;
  };
  EXPECT_EQ(unforeseen(48, 4), 4);
  EXPECT_EQ(unforeseen(48, 8), 4 + 64 * 2 * 4 * (1 - 4 / 8.0));
  EXPECT_EQ(unforeseen(2, 8), 4 + 64 * 2 * 2 * (1 - 4 / 8.0) * 896 / 2048);
  EXPECT_EQ(unforeseen(48, 1), 4);
}

/// Those of all buffers that are read and go on from row to row: neither what is read for each row anew nor what is written.
TEST(LateLines, AreThoseOfRowsOfAllBuffersTogether) {
  const auto unforeseen = [](int64_t second_step, bool stores) {
    constexpr int64_t kRow = 16 * 48;
    return late(loading([&](loop::StageBuilder& builder) {
             const loop::Int i = builder.open_for(loop::constant(0), loop::constant(16));
             const loop::Int k = builder.open_for(loop::constant(0), loop::constant(48));
             for (int row = 0; row < 4; ++row) {
               builder.load(0, i * (4 * kRow) + row * kRow + k * 16, loop::constant(1));
               const loop::Int second = i * (4 * second_step) + row * second_step + k * 16;
               if (stores)
                 builder.store(1, second, builder.number(1), loop::constant(1));
               else
                 builder.load(1, second, loop::constant(1));
             }
             builder.close();
             builder.close();
           }))
        .unforeseen;
  };
  EXPECT_EQ(unforeseen(16 * 48, false), 2 * (4 + 16 * 4 * 2 * 4 * (1 - 4 / 8.0)));
  EXPECT_EQ(unforeseen(16 * 48, true), 2 * 4);
  EXPECT_LT(unforeseen(0, false), 64) << "four rows of one buffer, and one row of another";
}

TEST(LateLines, AreNoneOfWhatIsNear) { EXPECT_EQ(late(loads(64, 16 * 96, 48, 16, 2)).unforeseen, 64 * 4); }

/// A second loop over more rows than the first one, forwards and backwards.
TEST(LateLines, AreNearOnlyWhereTheyWereBefore) {
  for (const bool backwards : {false, true}) {
    const loop::Kernel kernel = loading([&](loop::StageBuilder& builder) {
      for (const int64_t rows : {2, 8}) {
        const loop::Int row = builder.open_for(loop::constant(0), loop::constant(rows));
        const loop::Int column = builder.open_for(loop::constant(0), loop::constant(8));
        const loop::Int at = backwards ? loop::constant(rows - 1) - row : row;
        builder.load(0, at * (16 * 16) + column * 16, loop::constant(1));
        builder.close();
        builder.close();
      }
    });
    const double extent = 7 * 1024 + 512, near = 1024 + 512;  // of eight rows and of two
    EXPECT_NEAR(late(kernel).unforeseen, 2 * 4 + 8 * 4 * (1 - near / extent), 1e-9) << backwards;
  }
}

TEST(LateLines, AreNoneOfStepsThatPrefetchersFollow) {
  const loop::Kernel columns = loads(64, 16, 4096, 16 * 96);  // 6144 bytes from access to access
  EXPECT_EQ(late(columns, {.stride_bytes = 2048}).unforeseen, 64 * 4096);
  EXPECT_EQ(late(columns, {.stride_bytes = 16384}).unforeseen, 0);
}

TEST(LateLines, ComeFromWhereTheyAreStill) {
  const loop::Kernel rows = loads(8, 16 * 1024, 1024, 16, 2);  // twice 64 KB
  const auto from = [&](double l2_bytes, double l3_bytes) {
    const LateLines lines = late(rows, {.l2_bytes = l2_bytes, .l3_bytes = l3_bytes});
    return std::pair(lines.from_l3, lines.from_memory);
  };
  EXPECT_EQ(from(1 << 17, 1 << 20), std::pair(0.0, 0.0));
  EXPECT_EQ(from(1 << 15, 1 << 20), std::pair(8.0 * 1024, 0.0));
  EXPECT_EQ(from(1 << 15, 1 << 15), std::pair(0.0, 8.0 * 1024));
}

/// Two tasks that share rows take each other's lines where their parts meet; those that share the length do not.
TEST(LateLines, AreTakenFromTasksThatWriteTheSameRows) {
  const Bindings sizes{{"B", 1}, {"L", 512}};
  const Graph graph = fused(kChain, sizes);
  const auto taken = [&](int blocks) {
    const loop::Kernel kernel = lowered(
        graph, with(graph, {{"tile", 8}, {"states_in_registers", 0}, {"interleave", 0}, {"blocks_per_task", blocks}}));
    return late_lines(MemoryAccesses(kernel, kernel.stages[0], 0, 1, values_of(kernel, sizes)), {}).taken;
  };
  EXPECT_EQ(taken(2), 512);
  EXPECT_EQ(taken(3), 0) << "whole rows";
}

TEST(LateLines, CountAgainWhereTheCacheWasTooSmall) {
  EXPECT_EQ(late(loads(8, 16 * 256, 256, 16, 2)).again, 0);           // 16 KB are still there
  EXPECT_EQ(late(loads(8, 16 * 1024, 1024, 16, 2)).again, 8 * 1024);  // 64 KB are not
}

/// States and decays of 48 lane blocks are 96 KB, all of which each tile comes to; those of 8 stay near.
TEST(LateLines, OfATasksOwnArraysAreThoseThatEachTileComesTo) {
  const Bindings sizes{{"B", 1}, {"L", 2048}};
  const Graph graph = fused(kSelective, sizes);
  const auto swept = [&](int tile, int blocks) {
    const loop::Kernel kernel =
        lowered(graph, with(graph, {{"tile", tile},
                                    {"states_in_registers", 0},
                                    {"interleave", 0},
                                    {"blocks_per_task", blocks}}));
    const MemoryAccesses accesses(kernel, kernel.stages[0], 0, 1, values_of(kernel, sizes));
    return late_lines(accesses, {.l1_bytes = 49152}).swept;
  };
  EXPECT_EQ(swept(1, 48), 2048.0 * 2 * 48 * 16);
  EXPECT_EQ(swept(8, 48), 2048.0 / 8 * 2 * 48 * 16);
  EXPECT_EQ(swept(1, 8), 0);
}

std::vector<Prediction> predictions(const char* device, const std::vector<Schedule>& schedules, const Graph& graph) {
  return cost_model(device)->predict(graph, 0, schedules, {{"B", 1}, {"L", 2048}});
}

/// Measured: docs/performance.md. Processors whose prefetchers do not follow rows of 6 KB want several steps at a time.
TEST(CpuCostModel, TheWalkThatIsBestDependsOnTheProcessor) {
  const Graph graph = fused(kSelective, {{"B", 1}, {"L", 2048}});
  const Schedule plain = with(graph, {{"tile", 1}, {"states_in_registers", 1}, {"interleave", 12}});
  const Schedule tiles = with(graph, {{"tile", 8}, {"states_in_registers", 0}, {"interleave", 0}});
  const auto zen4 = predictions("zen4", {plain, tiles}, graph);
  EXPECT_LT(zen4[0].seconds, 0.98 * zen4[1].seconds);
  EXPECT_EQ(cost_model("zen4")->heuristic(graph, 0), plain);
  const auto intel = predictions("sapphirerapids", {plain, tiles}, graph);
  EXPECT_LT(intel[1].seconds, 0.8 * intel[0].seconds);
  EXPECT_EQ(intel[0].bound, "lines");
  EXPECT_EQ(intel[1].bound, "pipes");
  const Schedule steps = with(graph, {{"tile", 1}, {"states_in_registers", 0}, {"interleave", 0}});
  EXPECT_LT(intel[1].seconds, 0.9 * predictions("sapphirerapids", {steps}, graph)[0].seconds);
  EXPECT_EQ(cost_model("sapphirerapids")->heuristic(graph, 0), tiles);
}

/// Where a vector is wider than the pipes. States that lie in memory are stored in each step, a norm only stores rows.
TEST(CpuCostModel, StoresOfHalvesTakeTwoClocksInArrays) {
  const auto seconds = [](const char* text, int lanes, const std::vector<std::pair<const char*, int>>& axes) {
    Cpu cpu = cpu_of(DeviceDescription::find("zen4"));
    cpu.pipe_lanes = lanes;
    const Bindings sizes{{"B", 1}, {"L", 512}};
    const Graph graph = fused(text, sizes);
    return cpu_cost_model(cpu)->predict(graph, 0, {with(graph, axes)}, sizes)[0].seconds;
  };
  const std::vector<std::pair<const char*, int>> in_memory{{"tile", 1}, {"states_in_registers", 0}, {"interleave", 0}};
  const double stores = 512.0 * 1536 / 16 * 16 / 2;  // of a thread
  const double longer = seconds(kSelective, 8, in_memory) - seconds(kSelective, 16, in_memory);
  EXPECT_GT(longer, 0.9 * stores / 3.45e9);
  EXPECT_LT(longer, 1.5 * stores / 3.45e9);
  EXPECT_EQ(seconds(kNorm, 8, {}), seconds(kNorm, 16, {}));
}

/// Of 3 MB, two L2 caches of 1 MB keep a part.
TEST(CpuCostModel, WhatTheL2CachesKeepComesFromThem) {
  const auto seconds = [](double l2_bytes_per_second, int64_t length) {
    Cpu cpu = cpu_of(DeviceDescription::find("zen4"));
    cpu.l2_bytes_per_second = l2_bytes_per_second;
    const Bindings sizes{{"B", 1}, {"L", length}};
    const Graph graph = fused(kNorm, sizes);
    return cpu_cost_model(cpu)->predict(graph, 0, {default_schedule(graph, 0, {16})}, sizes)[0].seconds;
  };
  const double gained = seconds(1e11, 512) / seconds(2e11, 512);
  EXPECT_GT(gained, 1.02);
  EXPECT_LT(seconds(1e11, 8192) / seconds(2e11, 8192), gained) << "of more it is a smaller part";
}

TEST(CpuCostModel, SaysWhatAKernelDoes) {
  const Graph graph = fused(kSelective, {{"B", 1}, {"L", 2048}});
  const Prediction found = predictions("zen4", {cost_model("zen4")->heuristic(graph, 0)}, graph)[0];
  const double updates = 2048.0 * 1536 * 16;
  EXPECT_EQ(found.exponentials, updates);
  EXPECT_GT(found.slots, updates / 16 * 8);  // an exponential is eight instructions for 16 lanes
  EXPECT_LT(found.slots, updates / 16 * 20);
  EXPECT_EQ(found.bound, "pipes");
  EXPECT_GT(found.seconds, 2e-3);
  EXPECT_LT(found.seconds, 5e-3);
}

TEST(DescribedCpus, AreAllRead) {
  for (const std::string& name : DeviceDescription::shipped("cpu")) {
    const Cpu cpu = cpu_of(DeviceDescription::find(name));
    EXPECT_LT(cpu.l1_bytes, cpu.l2_bytes) << name;
    EXPECT_LT(cpu.l2_bytes, cpu.l3_bytes) << name;
    EXPECT_LE(cpu.l2_line_clocks, cpu.l3_line_clocks) << name;
    EXPECT_LT(cpu.l3_line_clocks, cpu.line_clocks) << name;
    EXPECT_GT(cpu.threads * cpu.l2_bytes_per_second, cpu.bytes_per_second) << name;
  }
  EXPECT_NE(message_of<InputError>([] { cpu_of(DeviceDescription::find("h200")); }).find("expected cpu"),
            std::string::npos);
}

/// The CPU as one of another architecture.
class NamedCpu : public Device {
 public:
  explicit NamedCpu(std::string architecture) : architecture_(std::move(architecture)) {}
  std::string name() const override { return cpu().name(); }
  DeviceModel model() const override {
    DeviceModel model = cpu().model();
    model.name = "CPU " + architecture_;
    model.architecture = architecture_;
    return model;
  }
  std::unique_ptr<DeviceMemory> allocate(int64_t bytes) override { return cpu().allocate(bytes); }
  void upload(void* to, const void* from, size_t bytes) override { cpu().upload(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { cpu().download(to, from, bytes); }
  Schedule schedule(const Graph& fused, int number) const override { return cpu().schedule(fused, number); }
  std::vector<std::shared_ptr<const DeviceKernel>> compile(const std::vector<const loop::Kernel*>& kernels) override {
    return cpu().compile(kernels);
  }
  std::unique_ptr<Call> library_call(const LibraryKernel& kernel, std::vector<NodeId>* roots) override {
    return cpu().library_call(kernel, roots);
  }

 private:
  static Device& cpu() { return cpu_device(); }
  std::string architecture_;
};

TEST(CpuCostModel, ACpuThatNoneDescribesIsMeasured) {
  const Graph graph = fused(kChain, {});
  for (const auto& [architecture, measured] : {std::pair("znver4", false), {"haswell", true}}) {
    NamedCpu cpu(architecture);
    std::vector<std::string> notes;
    const auto model = cost_model_for(cpu, [&](const std::string& note) { notes.push_back(note); });
    ASSERT_TRUE(model) << architecture;
    EXPECT_EQ(notes.size(), measured ? 1u : 0u) << architecture;
    const Schedule own = model->heuristic(graph, 0);
    EXPECT_EQ(own.width, measured ? 8 : 16) << "the vectors of " << architecture;
    EXPECT_GT(model->predict(graph, 0, {own}, {{"B", 1}, {"L", 64}})[0].seconds, 0) << architecture;
  }
}

TEST(PredictionQuality, HoldsTimesAgainstPredictions) {
  const auto tried = [](std::vector<std::pair<double, double>> pairs) {
    std::vector<TriedSchedule> all(pairs.size());
    for (size_t i = 0; i < pairs.size(); ++i) std::tie(all[i].ratio, all[i].predicted) = pairs[i];
    return all;
  };
  EXPECT_FALSE(prediction_quality(tried({{1, 1}, {2, 2}})));
  const auto good = prediction_quality(tried({{1, 10}, {2, 20}, {3, 30}, {4, 40}}));
  EXPECT_NEAR(good->rank_correlation, 1, 1e-12);
  EXPECT_EQ(good->best_of_five, 1);
  const auto bad = prediction_quality(tried({{6, 1}, {5, 2}, {4, 3}, {3, 4}, {2, 5}, {1, 6}, {0, 7}}));
  EXPECT_NEAR(bad->rank_correlation, -1, 1e-12);
  EXPECT_EQ(bad->count, 6u);  // one was not timed
  EXPECT_EQ(bad->best_of_five, 2);
  EXPECT_EQ(bad->fastest, 1);
  EXPECT_EQ(bad->slowest, 6);
  EXPECT_EQ(good->told_apart, 1);
  EXPECT_EQ(good->ordered, 1.0);
  EXPECT_EQ(bad->ordered, 0.0);
}

TEST(PredictionQuality, TimesWithinTheirSpreadHaveNoOrder) {
  std::vector<TriedSchedule> all(3);
  std::tie(all[0].ratio, all[0].spread, all[0].predicted) = std::tuple(1.0, 0.1, 3.0);
  std::tie(all[1].ratio, all[1].spread, all[1].predicted) = std::tuple(1.1, 0.1, 2.0);
  std::tie(all[2].ratio, all[2].spread, all[2].predicted) = std::tuple(1.5, 0.1, 3.0);
  const auto quality = prediction_quality(all);
  EXPECT_NEAR(quality->told_apart, 2.0 / 3, 1e-12);
  EXPECT_NEAR(quality->ordered.value(), 0.75, 1e-12);  // one of the two is predicted to be equal
  for (TriedSchedule& one : all) one.spread = 1;
  EXPECT_EQ(prediction_quality(all)->told_apart, 0);
  EXPECT_FALSE(prediction_quality(all)->ordered) << "of none";
}

}  // namespace
}  // namespace mambac::tools
