// Where small projections are computed, by records of tuning.
#include "tools/tuned_fusion.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "codegen/kernel_name.h"
#include "passes/fuse.h"
#include "runtime/cpu_device.h"
#include "tests/temporary_folder.h"
#include "tools/compile.h"
#include "tools/explain_options.h"
#include "tools/tune_model.h"

namespace mambac::tools {
namespace {

const Bindings kSizes{{"B", 2}, {"L", 32}};
constexpr double kSeconds = 1e-3;

constexpr const char* kModel = R"(
free B, L

model projected<D = 512, R = 16>(low: [B, L, R], u: [B, L, D]) -> [B, L, D] {
  param w: [D, R] = uniform(-1, 1)
  return h = scan<L>(sigmoid(dot<R>(low, w)), u)
}
)";

Graph projected(const std::string& contracted = "16") {
  std::string text = kModel;
  text.replace(text.find("16"), 2, contracted);
  return instantiate(model_from_text(text, "test"));
}

PipelineOptions options() {
  return options_for(GraphKind::prefill, DType::f32, kSizes);
}

/// Records for all kernels of a place, each of so many seconds.
std::vector<TuningRecord> records_of(const Graph& source, const PipelineOptions& options, double seconds,
                                     const Bindings& sizes = kSizes) {
  const Graph fused = run_pipeline(source, options).graph;
  std::vector<TuningRecord> records;
  for (int k = 0; k < static_cast<int>(fused.kernels.size()); ++k) {
    const KernelKey key = kernel_key(fused, k);
    TuningRecord record;
    record.kernel = key.digest();
    record.name = kernel_name(fused, k);
    record.sizes = sizes_for(fused, key, sizes);
    record.threads = cpu_device().model().threads;
    record.schedule = record.heuristic = cpu_device().schedule(fused, k);
    record.seconds = record.heuristic_seconds = seconds;
    record.architecture = record.toolkit = "test";
    record.date = "2026-11-27";
    const auto same = [&](const TuningRecord& other) { return other.work() == record.work(); };
    if (keeps_records(fused, k) && std::ranges::none_of(records, same)) records.push_back(record);
  }
  return records;
}

TunedSchedules tuned(std::vector<TuningRecord> records) {
  const DeviceModel model = cpu_device().model();
  return {{{RecordSource::user, {model.name, std::move(records)}}}, model.threads, model.library};
}

/// In the walk there is one kernel, outside there are two.
std::vector<TuningRecord> times(const Graph& source, double in_walk, double each_outside) {
  std::vector<TuningRecord> all = records_of(source, options(), in_walk);
  for (const TuningRecord& one : records_of(source, with_other_fusion(options()), each_outside)) all.push_back(one);
  return all;
}
TunedSchedules with_times(const Graph& source, double in_walk, double each_outside) {
  return tuned(times(source, in_walk, each_outside));
}

size_t kernels(const Graph& source, const TunedSchedules* tuned, const Bindings& sizes = kSizes) {
  return tuned_pipeline(source, options(), sizes, DeviceKind::cpu, tuned).result.graph.kernels.size();
}

TEST(TunedFusion, ThePlaceThatTakesLessTimeByAllRecords) {
  const Graph source = projected();
  ASSERT_TRUE(has_two_fusions(source, options()));
  EXPECT_EQ(kernels(source, nullptr), 1u);
  const TunedSchedules outside = with_times(source, 3 * kSeconds, kSeconds),
                       inside = with_times(source, kSeconds, kSeconds);
  EXPECT_EQ(kernels(source, &outside), 2u);
  EXPECT_EQ(kernels(source, &inside), 1u);
  const TunedPipeline made = tuned_pipeline(source, options(), kSizes, DeviceKind::cpu, &outside);
  EXPECT_FALSE(made.options.fuse.fuse_projections);
  EXPECT_DOUBLE_EQ(made.time.value().seconds, 2 * kSeconds);
  EXPECT_DOUBLE_EQ(made.other_time.value().seconds, 3 * kSeconds);
}

TEST(TunedFusion, TheDevicesPlaceUnlessTheOtherIsFasterBeyondDoubt) {
  const Graph source = projected();
  std::vector<TuningRecord> all = times(source, 3 * kSeconds, 1.45 * kSeconds);
  const TunedSchedules sure = tuned(all);
  EXPECT_EQ(kernels(source, &sure), 2u);
  for (TuningRecord& record : all) record.spread = 0.02;
  const TunedSchedules unsure = tuned(all);
  EXPECT_EQ(kernels(source, &unsure), 1u);
  const TunedSchedules hardly = with_times(source, 2 * kSeconds, 0.995 * kSeconds);
  EXPECT_EQ(kernels(source, &hardly), 1u);
}

TEST(TunedFusion, OtherThreadsChangeNothing) {
  const Graph source = projected();
  std::vector<TuningRecord> all = times(source, 3 * kSeconds, kSeconds);
  for (TuningRecord& record : all) record.threads *= 2;
  const TunedSchedules outside = tuned(all);
  EXPECT_EQ(kernels(source, &outside), 2u);
}

TEST(TunedFusion, WithoutARecordOfEachKernelAtTheseSizesItIsTheDevices) {
  const Graph source = projected();
  const TunedSchedules outside = with_times(source, 3 * kSeconds, kSeconds);
  EXPECT_EQ(kernels(source, &outside, {{"B", 2}, {"L", 64}}), 1u);
  std::vector<TuningRecord> all = records_of(source, options(), 3 * kSeconds);
  all.push_back(records_of(source, with_other_fusion(options()), kSeconds).front());
  const TunedSchedules part = tuned(std::move(all));
  EXPECT_EQ(kernels(source, &part), 1u);
}

TEST(TunedFusion, WhatDecidedCountsAsUsed) {
  const Graph source = projected();
  const TunedSchedules inside = with_times(source, kSeconds, kSeconds);
  EXPECT_EQ(kernels(source, &inside), 1u);
  EXPECT_EQ(inside.used().size(), 3u);
  const TunedSchedules again = tuned(inside.used());
  EXPECT_EQ(kernels(source, &again), 1u);
}

TEST(TunedFusion, TooSmallAndTooLargeProjectionsHaveOnePlace) {
  for (const char* contracted : {"8", "256"})
    EXPECT_FALSE(has_two_fusions(projected(contracted), options())) << contracted;
  PipelineOptions step = options();
  step.fuse.library_contractions = false;
  EXPECT_FALSE(has_two_fusions(projected(), step)) << "nothing is a library's";
}

TEST(TunedFusion, CompiledProgramsHaveIt) {
  const Graph source = projected();
  TunedSchedules outside = with_times(source, 3 * kSeconds, kSeconds);
  const auto product = [&](const Target& target, const Program::Scheduler& schedule = {}) {
    const auto compiled = compile(source, options(), kSizes, target, schedule);
    return is_library_product(compiled->program->graph(), 0);
  };
  EXPECT_TRUE(product(Target(cpu_device(), &outside)));
  EXPECT_TRUE(product(Target(cpu_device(), &outside), schedules_of(cpu_device()))) << "as bench compiles";
  EXPECT_FALSE(product(Target(cpu_device())));
}

TEST(TunedFusion, BothPlacesAreTuned) {
  TuneModelOptions wanted;
  wanted.graphs = {GraphKind::prefill};
  wanted.sizes = kSizes;
  const auto launches = [&](bool both) {
    wanted.both_fusions = both;
    std::vector<std::pair<int, int>> found;
    for (const KernelToTune& one : kernels_to_tune(model_from_text(kModel, "test"), wanted, tune_target(cpu_device())))
      found.emplace_back(one.launches, one.launches_other);
    return found;
  };
  EXPECT_EQ(launches(false), (std::vector<std::pair<int, int>>{{1, 0}}));
  EXPECT_EQ(launches(true), (std::vector<std::pair<int, int>>{{1, 0}, {0, 1}, {0, 1}}));
}

TEST(TunedFusion, ExplainShowsIt) {
  const TemporaryFolder folder;
  const Selection selection{model_from_text(kModel, "test"), kSizes};
  const auto in_walk = [&](std::vector<TuningRecord> records) {
    ExplainArguments arguments;
    arguments.graph = "prefill";
    arguments.schedule = {"scan:tile=4"};  // which is of a kernel in either place
    arguments.tuned =
        folder.write("records.json", tuning_text({cpu_device().model().name, std::move(records)})).string();
    return explain_options(arguments, selection).pipeline.fuse.fuse_projections;
  };
  const Graph source = projected();
  EXPECT_FALSE(in_walk(times(source, 3 * kSeconds, kSeconds)));
  EXPECT_TRUE(in_walk(times(source, kSeconds, kSeconds)));
}

TEST(TunedFusion, ExplainKnowsProgramsAsTheyRun) {
  const TemporaryFolder folder;
  const Selection selection = select_model("mamba-lm:130m", {"layers=1", "B=2", "L=32"});
  for (const GraphKind kind : {GraphKind::train, GraphKind::eval}) {
    const SourceProgram run = program_of(selection.model, kind, DType::f32, kSizes);
    TuningFile file{cpu_device().model().name, records_of(run.source, run.options, 10 * kSeconds)};
    merge(file, {file.device, records_of(run.source, with_other_fusion(run.options), kSeconds)});
    ExplainArguments arguments;
    arguments.graph = name_of(kind);
    arguments.tuned = folder.write("records.json", tuning_text(file)).string();
    EXPECT_FALSE(explain_options(arguments, selection).pipeline.fuse.fuse_projections) << arguments.graph;
    arguments.tuned = "off";
    EXPECT_TRUE(explain_options(arguments, selection).pipeline.fuse.fuse_projections) << arguments.graph;
  }
}

}  // namespace
}  // namespace mambac::tools
