// What becomes of tuned schedules within programs.
#include "tools/tune_confirm.h"

#include <gtest/gtest.h>

#include "codegen/lower.h"
#include "frontend/model.h"
#include "ir/error.h"
#include "runtime/cpu_device.h"
#include "tests/temporary_folder.h"

namespace mambac::tools {
namespace {

const Bindings kSizes{{"B", 1}, {"L", 512}};

constexpr const char* kModel = R"(
free B, L

model mixed<D = 512>(a: [B, L, D], b: [B, L, D]) -> [B, L, D] {
  return h = scan<L>(sigmoid(a), b)
}
)";

TuneModelOptions chosen() {
  TuneModelOptions options;
  options.graphs = {GraphKind::prefill};
  options.sizes = kSizes;
  return options;
}

Model mixed() { return model_from_text(kModel, "test"); }

TuneOptions with_notes(std::vector<std::string>& notes) {
  TuneOptions options;
  options.budget = 60;
  options.note = [&notes](const std::string& line) { notes.push_back(line); };
  return options;
}

/// Vectors of one lane, each step by itself: several times as slow as anything that a device would choose.
Schedule slow(Schedule schedule) {
  schedule.width = 1;
  schedule.tile = schedule.unroll = 1;
  return schedule;
}

/// A record that has the slow schedule for twice as fast.
TunedKernel misjudged() {
  std::vector<KernelToTune> kernels = kernels_to_tune(mixed(), chosen(), tune_target(cpu_device()));
  EXPECT_EQ(kernels.size(), 1u);
  TunedKernel kernel;
  kernel.kernel = kernels.front();
  TuningRecord record;
  record.kernel = kernel.kernel.task.kernel;
  record.name = kernel.kernel.task.name;
  record.sizes = kernel.kernel.task.sizes;
  record.threads = cpu_device().model().threads;
  record.heuristic = cpu_device().schedule(kernel.kernel.alone, 0);
  record.schedule = slow(record.heuristic);
  record.heuristic_seconds = 2e-3;
  record.seconds = 1e-3;
  record.architecture = record.toolkit = "test";
  record.date = "2026-11-27";
  EXPECT_EQ(why_illegal(kernel.kernel.alone, 0, record.schedule, DeviceKind::cpu), "");
  TriedSchedule& finalist = kernel.finalists.emplace_back();
  finalist.schedule = record.schedule;
  finalist.ratio = 0.5;
  kernel.record = record;
  return kernel;
}

TEST(InProgram, TheFastestFinalistStays) {
  TunedKernel kernel = misjudged();
  const Schedule first = kernel.record->schedule;
  TriedSchedule& other = kernel.finalists.emplace_back();
  other.schedule = kernel.record->heuristic;
  other.schedule.tile *= 2;
  other.ratio = 0.75;
  other.error = 0.5;
  TunedKernel again = kernel;
  choose_in_program(again, {0.9, 0.95});
  EXPECT_EQ(again.record->schedule, first);
  EXPECT_EQ(again.record->seconds, 1e-3);
  EXPECT_EQ(again.record->in_program, 0.9);
  choose_in_program(kernel, {1.3, 0.9});
  EXPECT_EQ(kernel.record->schedule, other.schedule);
  EXPECT_EQ(kernel.record->seconds, 1.5e-3);
  EXPECT_EQ(kernel.record->error, 0.5);
  EXPECT_EQ(kernel.record->in_program, 0.9);
}

/// What is faster in a program where the kernel takes little time does not outweigh one where it takes much.
TEST(InProgram, AllProgramsCountByTheirTimes) {
  const auto program = [](double seconds, std::vector<double> ratios) {
    TimesInProgram times;
    times.kernels["k"].seconds = seconds;
    for (const double ratio : ratios) times.kernels["k"].ratios.push_back({ratio, ratio, ratio});
    return times;
  };
  const std::vector<TimesInProgram> programs{program(3, {0.8, 0.9, 0.7}), TimesInProgram{}, program(1, {1.2, 0.5})};
  const std::vector<double> ratios = ratios_over(programs, "k");
  ASSERT_EQ(ratios.size(), 2u) << "the third one was not measured in all";
  EXPECT_NEAR(ratios[0], 0.9, 1e-12);
  EXPECT_NEAR(ratios[1], 0.8, 1e-12);
}

TEST(InProgram, TheDevicesOwnStaysWhereNoneIsFaster) {
  TunedKernel kernel = misjudged();
  choose_in_program(kernel, {0.995});
  EXPECT_EQ(kernel.record->schedule, kernel.record->heuristic);
  EXPECT_EQ(kernel.record->seconds, kernel.record->heuristic_seconds);
  EXPECT_EQ(kernel.record->in_program, 1);
}

TEST(InProgram, WhatIsSlowThereIsGivenUp) {
  const TemporaryFolder place;
  const TuningFolder folder(place / "tuned");
  std::filesystem::create_directories(folder.folder());
  std::vector<TunedKernel> kernels{misjudged()};
  std::vector<std::string> notes;
  const auto confirmed =
      confirm_in_programs(kernels, mixed(), chosen(), cpu_device(), folder, with_notes(notes));
  ASSERT_EQ(confirmed.size(), 1u);
  EXPECT_GT(confirmed[0].own_seconds, 0);
  EXPECT_EQ(confirmed[0].seconds, confirmed[0].own_seconds);
  EXPECT_EQ(kernels[0].record->schedule, kernels[0].record->heuristic);
  const TuningFile file = folder.read(cpu_device().model().name);
  ASSERT_EQ(file.records.size(), 1u);
  EXPECT_EQ(file.records[0], *kernels[0].record);
  EXPECT_TRUE(notes.empty());
}

TEST(InProgram, WhatIsKeptReplacesRecordsOfLaterDates) {
  const TemporaryFolder place;
  const TuningFolder folder(place / "tuned");
  std::vector<TunedKernel> kernels{misjudged()};
  TuningRecord later = *kernels[0].record;
  later.date = "2999-01-01";
  folder.merge({cpu_device().model().name, {later}});
  std::vector<std::string> notes;
  confirm_in_programs(kernels, mixed(), chosen(), cpu_device(), folder, with_notes(notes));
  EXPECT_EQ(folder.read(cpu_device().model().name).records, std::vector<TuningRecord>{*kernels[0].record});
}

/// The same kernel in two programs: one choice for both, by which both are reported.
TEST(InProgram, OneChoiceIsForAllPrograms) {
  const TemporaryFolder place;
  const TuningFolder folder(place / "tuned");
  std::filesystem::create_directories(folder.folder());
  std::vector<TunedKernel> kernels{misjudged()};
  TuneModelOptions both = chosen();
  both.graphs = {GraphKind::prefill, GraphKind::prefill};
  std::vector<std::string> notes;
  const auto confirmed = confirm_in_programs(kernels, mixed(), both, cpu_device(), folder, with_notes(notes));
  ASSERT_EQ(confirmed.size(), 2u);
  for (const ConfirmedProgram& program : confirmed) EXPECT_EQ(program.seconds, program.own_seconds);
  EXPECT_EQ(kernels[0].record->schedule, kernels[0].record->heuristic);
}

TEST(InProgram, WithoutTimeRecordsStayAndANoteSaysSo) {
  const TemporaryFolder place;
  const TuningFolder folder(place / "tuned");
  std::filesystem::create_directories(folder.folder());
  std::vector<TunedKernel> kernels{misjudged()};
  const TuningRecord before = *kernels[0].record;
  std::vector<std::string> notes;
  TuneOptions options = with_notes(notes);
  options.budget = 0;
  EXPECT_TRUE(confirm_in_programs(kernels, mixed(), chosen(), cpu_device(), folder, options).empty());
  EXPECT_EQ(*kernels[0].record, before);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_EQ(notes[0], "prefill: what was found is not measured within the program: there is no time left");
}

TEST(InProgram, EachCandidateIsMeasuredAgainstTheDevicesOwn) {
  const TunedKernel kernel = misjudged();
  const std::string digest = kernel.kernel.task.kernel;
  Schedule illegal = kernel.record->heuristic;
  illegal.tile = -1;
  const SourceProgram program = program_to_tune(mixed(), GraphKind::prefill, chosen(), tune_target(cpu_device()));
  const auto times = times_in_program(program, kSizes, Target(cpu_device()),
                                      {{digest, {slow(kernel.record->heuristic), illegal}}, {"of another", {illegal}}},
                                      60, [] { return false; });
  ASSERT_TRUE(times.has_value());
  ASSERT_EQ(times->kernels.size(), 1u);
  const TimesInProgram::OfKernel& found = times->kernels.at(digest);
  ASSERT_EQ(found.ratios.size(), 2u);
  EXPECT_GT(found.ratios[0].median, 1.2);
  EXPECT_LT(found.ratios[1].median, found.ratios[0].median) << "an illegal one is passed over";
  EXPECT_GT(found.seconds, 0);
  EXPECT_LE(found.seconds, 1.5 * times->seconds);
}

}  // namespace
}  // namespace mambac::tools
