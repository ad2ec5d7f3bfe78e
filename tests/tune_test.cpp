// The tuner: what it tries, what it rejects, what it keeps.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <limits>
#include <set>

#include "codegen/schedule_space.h"
#include "frontend/model.h"
#include "ir/error.h"
#include "passes/kernel_alone.h"
#include "passes/part_sums.h"
#include "runtime/cpu_device.h"
#include "runtime/tuning/kernel_key.h"
#include "tests/faulty_device.h"
#include "tests/schedule_cases.h"
#include "tests/temporary_folder.h"
#include "tools/kernel_set.h"
#include "tools/port_memory.h"
#include "tools/tune_model.h"
#include "tools/tune_quality.h"
#include "tools/tune_report.h"
#include "tools/tune_search.h"

namespace mambac::tools {
namespace {

using test::faulty_device;

// ---- times ---------------------------------------------------------------------------------------------------------

TEST(Interval, OfFewValuesIsTheirRangeAndOfManyIsNarrower) {
  const Interval few = interval_of({3, 1, 2});
  EXPECT_EQ(few.median, 2);
  EXPECT_EQ(few.low, 1);
  EXPECT_EQ(few.high, 3);
  std::vector<double> values;
  for (int i = 0; i < 25; ++i) values.push_back(i);
  const Interval many = interval_of(values);
  EXPECT_EQ(many.median, 12);
  EXPECT_EQ(many.low, 7);    // ranks of Conover's table for n = 25
  EXPECT_EQ(many.high, 18);
}

/// A contender whose times are a base and a disturbance, the same for all in a round.
struct Runner {
  double base;
  int* round;
  int calls = 0;
  double operator()() {
    ++calls;
    const double noise = 1 + 0.5 * ((*round * 7919) % 10) / 10.0;
    return base * noise;
  }
};

RaceResult race_of(std::vector<Runner>& runners, const RaceOptions& options, int& round) {
  std::vector<std::function<double()>> contenders;
  for (size_t i = 0; i < runners.size(); ++i)
    contenders.push_back([&runners, &round, i] {
      if (i == 0) ++round;
      return runners[i]();
    });
  return race(contenders, options);
}

TEST(Race, FindsTheFastestThroughNoiseThatAllShare) {
  int round = 0;
  std::vector<Runner> runners{{1.0, &round}, {0.8, &round}, {2.0, &round}};
  const RaceResult result = race_of(runners, {}, round);
  EXPECT_EQ(result.best, 1u);
  EXPECT_NEAR(result.ratios[1].median, 0.8, 1e-9);
  EXPECT_EQ(runners[2].calls, 5) << "what is surely slower is measured no more";
}

TEST(Race, OfATieIsWonByTheFirst) {
  int round = 0;
  std::vector<Runner> runners{{1.0, &round}, {0.985, &round}};
  EXPECT_EQ(race_of(runners, {}, round).best, 0u);
}

TEST(Race, StopsWhenItIsTold) {
  int round = 0;
  std::vector<Runner> runners{{1.0, &round}, {0.9, &round}};
  RaceOptions options;
  options.stop = [] { return true; };
  race_of(runners, options, round);
  EXPECT_EQ(runners[1].calls, 1);
}

// ---- the space -----------------------------------------------------------------------------------------------------

std::vector<Graph> fused_cases(DeviceKind kind) {
  FuseOptions options = kind == DeviceKind::gpu ? gpu_fuse_options() : FuseOptions{};
  std::vector<Graph> graphs;
  for (const test::Case& one : {test::mixer_case(), test::mixer_gradients_case(), test::scans_case(true)}) {
    Remarks remarks;
    graphs.push_back(fuse(one.graph, options, remarks));
  }
  return graphs;
}

Schedule own_schedule(const Graph& fused, int number, DeviceKind kind) {
  return kind == DeviceKind::gpu ? default_gpu_schedule(fused, number) : default_schedule(fused, number, {16, true});
}

Graph fused_model(const std::string& name, GraphKind kind, const FuseOptions& fusion = {}) {
  PipelineOptions options = options_for(kind, DType::bf16, {{"B", 1}});
  options.fuse = device_options(fusion, options.fuse);
  const Graph source = source_graph(load_model(name), kind);
  return run_pipeline(kind == GraphKind::train ? with_output(source, "loss") : source, options).graph;
}

/// As in the arena of a program (ArenaPlan).
TEST(PortMemory, LargePortsBeginAtDifferentPlacesOfTheirPages) {
  PortMemory memory;
  const auto port = [](const char* name) { return Port{name, DType::f32, {4096}, 4096}; };
  memory.place({port("a"), port("b")}, cpu_device());
  memory.place({port("b"), port("c")}, cpu_device());
  std::set<uintptr_t> places;
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_EQ(memory.at(name).bytes(), 4096 * sizeof(float));
    places.insert(reinterpret_cast<uintptr_t>(memory.at(name).data()) % 4096);
  }
  EXPECT_EQ(places.size(), 3u);
}

TEST(ScheduleSpace, HasLegalSchedulesEachOnce) {
  for (const DeviceKind kind : {DeviceKind::cpu, DeviceKind::gpu})
    for (const Graph& fused : fused_cases(kind))
      for (int k = 0; k < static_cast<int>(fused.kernels.size()); ++k) {
        if (fused.kernels[static_cast<size_t>(k)].kind == KernelGroup::library) continue;
        const Schedule own = own_schedule(fused, k, kind);
        std::set<std::string> seen{own.str()};
        std::vector<Schedule> all = coarse_schedules(fused, k, own, kind);
        for (const Schedule& schedule : all) {
          EXPECT_EQ(why_illegal(fused, k, schedule, kind), "") << schedule.str();
          EXPECT_TRUE(seen.insert(schedule.str()).second) << schedule.str();
        }
        const std::vector<Schedule> near = neighbours(fused, k, own, own, kind);
        EXPECT_FALSE(near.empty());
        for (const Schedule& schedule : near) {
          EXPECT_EQ(why_illegal(fused, k, schedule, kind), "") << schedule.str();
          EXPECT_NE(schedule, own);
        }
      }
}

TEST(ScheduleSpace, CountsWhatIsWrittenOut) {
  const Graph fused = fused_cases(DeviceKind::cpu)[0];
  const auto statements = [&](int tile) {
    Schedule schedule = own_schedule(fused, 0, DeviceKind::cpu);
    int walk = 0;
    while (fused.kernels[static_cast<size_t>(walk)].kind != KernelGroup::walk) ++walk;
    schedule = own_schedule(fused, walk, DeviceKind::cpu);
    schedule.tile = tile;
    schedule.states_in_registers = true;
    schedule.blocks_per_task = 1;
    return statements_written_out(lower(fused, Layouts(fused), walk, schedule, DeviceKind::cpu).kernel);
  };
  EXPECT_GT(statements(8), 4 * statements(1));
}

TEST(ScheduleSpace, OneLaneIsEnough) {
  const Graph fused = fused_model("mambabyte:tiny", GraphKind::step);  // bf16, which wider vectors read in blocks
  for (int k = 0; k < static_cast<int>(fused.kernels.size()); ++k) {
    if (fused.kernels[static_cast<size_t>(k)].kind == KernelGroup::library) continue;
    Schedule schedule = own_schedule(fused, k, DeviceKind::cpu);
    schedule.width = 1;
    ASSERT_EQ(why_illegal(fused, k, schedule, DeviceKind::cpu), "");
    EXPECT_EQ(lower(fused, Layouts(fused), k, schedule, DeviceKind::cpu).kernel.schedule.width, 1);
  }
}

// ---- keys ----------------------------------------------------------------------------------------------------------

TEST(KernelKey, DoesNotDependOnNamesAndPlaces) {
  Graph fused = fused_model("mambabyte:tiny", GraphKind::train);
  std::vector<std::string> before, names;
  for (size_t k = 0; k < fused.kernels.size(); ++k) before.push_back(kernel_key(fused, static_cast<int>(k)).digest());
  for (size_t i = 0; i < fused.size(); ++i) names.push_back("other" + std::to_string(i));
  for (const Output& output : fused.outputs()) ASSERT_TRUE(output.value.present());
  fused.rename(names, Graph());
  for (uint32_t i = 0; i < fused.size(); ++i) fused.node(NodeId{i}).location = {};
  for (size_t k = 0; k < fused.kernels.size(); ++k)
    EXPECT_EQ(kernel_key(fused, static_cast<int>(k)).digest(), before[k]) << fused.kernels[k].name;
}

TEST(KernelKey, LayersShareAndSizesDiffer) {
  const Graph tiny = fused_model("mambabyte:tiny", GraphKind::prefill);
  std::map<std::string, int> keys;
  for (size_t k = 0; k < tiny.kernels.size(); ++k) ++keys[kernel_key(tiny, static_cast<int>(k)).digest()];
  EXPECT_LT(keys.size(), tiny.kernels.size());
  const Graph other = fused_model("mamba-lm:tiny", GraphKind::prefill);
  for (size_t k = 0; k < other.kernels.size(); ++k) {
    if (other.kernels[k].kind != KernelGroup::walk) continue;
    const KernelKey key = kernel_key(other, static_cast<int>(k));
    EXPECT_EQ(sizes_for(other, key, {{"B", 2}, {"L", 8}, {"X", 3}}), (Bindings{{"B", 2}, {"L", 8}}));
  }
}

/// Its last product by itself: that of the logits.
Graph a_product(const Graph& fused) {
  int product = -1;
  for (int k = 0; k < static_cast<int>(fused.kernels.size()); ++k)
    if (is_library_product(fused, k)) product = k;
  return kernel_alone(fused, product, Stored::in_memory);
}

TEST(ScheduleSpace, OfALibraryAreAlgorithmsOfProducts) {
  const Graph fused = fused_model("mambabyte:tiny", GraphKind::prefill);
  int look_ups = 0;
  for (const DeviceKind kind : {DeviceKind::cpu, DeviceKind::gpu}) {
    const Graph product = a_product(fused);
    const Schedule own = own_schedule(product, 0, kind);
    std::set<int> algorithms{own.algorithm};
    for (Schedule schedule : coarse_schedules(product, 0, own, kind)) {
      EXPECT_TRUE(algorithms.insert(schedule.algorithm).second);
      schedule.algorithm = own.algorithm;
      EXPECT_EQ(schedule, own);
    }
    EXPECT_EQ(algorithms.size(), Schedule::kLastAlgorithm + 1u);
    for (int k = 0; k < static_cast<int>(fused.kernels.size()); ++k) {
      if (!library_node(fused, k).present() || is_library_product(fused, k)) continue;
      ++look_ups;
      EXPECT_TRUE(axes_of(fused, k, own_schedule(fused, k, kind), kind).empty());
    }
  }
  EXPECT_GT(look_ups, 0);
}

bool stores_into_a_join(const Graph& fused, int number) {
  const Layouts layouts(fused);
  for (uint32_t i = 0; i < fused.size(); ++i)
    if (fused.node(NodeId{i}).kernel == number && layouts.join_of(NodeId{i}).first.present()) return true;
  return false;
}

/// What is timed is what the program runs: the same loops. What kernels store into a part of what others store, too, has
/// memory of its own alone.
void expect_same_loops_alone(DeviceKind device, const FuseOptions& fusion) {
  for (const char* model : {"mambabyte:tiny", "mamba-lm:tiny", "rg-lru:tiny", "mamba-lm:130m"})
    for (const GraphKind kind : {GraphKind::train, GraphKind::prefill, GraphKind::step}) {
      if (std::string_view(model).ends_with(":130m") && kind != GraphKind::step) continue;  // which adds up parts
      const Graph fused = fused_model(model, kind, fusion);
      constexpr size_t kSome = 60;  // the other layers are alike
      for (int k = 0; k < static_cast<int>(std::min(kSome, fused.kernels.size())); ++k) {
        if (fused.kernels[static_cast<size_t>(k)].kind == KernelGroup::library) continue;
        if (stores_into_a_join(fused, k)) continue;
        const Schedule own = own_schedule(fused, k, device);
        const auto text = [&](const Graph& graph, int number) {
          loop::Kernel kernel = lower(graph, Layouts(graph), number, own, device).kernel;
          for (loop::Buffer& buffer : kernel.buffers) buffer.in_place_of.clear();  // that is for the caller to say
          return kernel_text(kernel.name, loop::print(kernel)).content;
        };
        EXPECT_EQ(text(fused, k), text(kernel_alone(fused, k, Stored::in_memory), 0))
            << model << " " << fused.kernels[static_cast<size_t>(k)].name;
      }
    }
}

TEST(KernelAlone, HasTheLoopsThatItHasInTheProgramOnACpu) { expect_same_loops_alone(DeviceKind::cpu, {}); }
TEST(KernelAlone, HasTheLoopsThatItHasInTheProgramOnAGpu) {
  expect_same_loops_alone(DeviceKind::gpu, gpu_fuse_options());
}

// ---- the search ----------------------------------------------------------------------------------------------------

/// The forward walk of a small mixer.
Graph small_walk() {
  Remarks remarks;
  const Graph fused = fuse(test::mixer_case(64, 4).graph, {}, remarks);
  int walk = -1;
  for (size_t k = 0; k < fused.kernels.size(); ++k)
    for (const Node& node : fused.nodes())
      if (node.kernel == static_cast<int>(k) && node.op == Op::Scan) walk = static_cast<int>(k);
  return kernel_alone(fused, walk, Stored::in_memory);
}

const Bindings kSizes{{"B", 2}, {"L", 64}};

TEST(Trial, TellsRightResultsFromWrongOnes) {
  const Graph walk = small_walk();
  KernelTask right(walk, kSizes, cpu_device(), false);
  KernelTrial good(right, cpu_device().schedule(walk, 0));
  EXPECT_LE(good.error(), 1);
  EXPECT_GT(good.seconds(), 0);
  const auto faulty = faulty_device({Op::Mul, 1.05});
  KernelTask wrong(walk, kSizes, *faulty, false);
  KernelTrial bad(wrong, cpu_device().schedule(walk, 0));
  EXPECT_GT(bad.error(), 1);
}

TEST(Trial, TakesKernelsThatAddUpWhatOthersLeft) {
  const Graph fused = fused_model("mamba-lm:130m", GraphKind::step, gpu_fuse_options());
  int adding = 0;
  while (parts_added_by(fused, adding) == DimId{}) ++adding;
  const Graph alone = kernel_alone(fused, adding, Stored::in_memory);
  EXPECT_NE(parts_added_by(alone, 0), DimId{});
  KernelTask task(alone, {{"B", 1}}, cpu_device(), false);
  KernelTrial trial(task, cpu_device().schedule(alone, 0));
  EXPECT_LE(trial.error(), 4) << "its sums of 128 parts are large, and so is what becomes of their roundings";
}

/// Of so many schedules, without their neighbours.
SearchOptions coarse_search(size_t schedules) {
  SearchOptions options;
  options.first = schedules;
  options.most_moves = 0;
  return options;
}

TEST(Search, RejectsAndReportsAWrongSchedule) {
  const Graph walk = small_walk();
  const Schedule own = cpu_device().schedule(walk, 0);
  const auto is_planted = [&](const Schedule& schedule) { return schedule.unroll != own.unroll || schedule.tile != own.tile; };
  const auto faulty = faulty_device({Op::Mul, 1.05, -1, is_planted});
  KernelTask task(walk, kSizes, *faulty, false);
  SearchOptions options;
  options.first = 4;
  options.around = 4;
  options.most_moves = 1;
  const SearchResult result = search_schedules(task, nullptr, options);
  EXPECT_FALSE(is_planted(result.best)) << result.best.str();
  int planted = 0;
  for (const TriedSchedule& tried : result.tried) {
    if (!is_planted(tried.schedule)) continue;
    ++planted;
    EXPECT_NE(tried.wrong, "") << tried.schedule.str();
    EXPECT_EQ(tried.ratio, 0) << "what is wrong is not timed";
  }
  EXPECT_GT(planted, 0);
}

TEST(Search, DoesNotTryAgainWhatIsKnown) {
  const Graph walk = small_walk();
  KernelTask task(walk, kSizes, cpu_device(), false);
  SearchOptions options = coarse_search(4);
  const SearchResult first = search_schedules(task, nullptr, options);
  ASSERT_EQ(first.tried.size(), 4u);
  options.known = first.tried;
  options.first = 8;
  size_t tried = 0;
  options.tried = [&](const TriedSchedule& one) {
    ++tried;
    for (const TriedSchedule& known : first.tried) EXPECT_NE(one.schedule, known.schedule);
  };
  const SearchResult second = search_schedules(task, nullptr, options);
  EXPECT_EQ(second.tried.size(), first.tried.size() + tried);
}

TEST(Search, GoesOnWhereItWas) {
  const Graph walk = small_walk();
  KernelTask task(walk, kSizes, cpu_device(), false);
  SearchOptions options = coarse_search(4);
  options.known = search_schedules(task, nullptr, options).tried;
  ASSERT_EQ(options.known.size(), 4u);
  options.first = 6;
  EXPECT_EQ(search_schedules(task, nullptr, options).tried.size(), 6u);
}

TEST(Search, ComesToAnEndHoweverLittleTimeThereIs) {
  const Graph walk = small_walk();
  KernelTask task(walk, kSizes, cpu_device(), false);
  SearchOptions options = coarse_search(3);
  options.stop = [] { return true; };
  for (size_t searches = 1; searches <= 3; ++searches) {
    const SearchResult result = search_schedules(task, nullptr, options);
    EXPECT_FALSE(result.complete);
    EXPECT_EQ(result.tried.size(), searches);
    options.known = result.tried;
  }
  EXPECT_TRUE(search_schedules(task, nullptr, options).complete);
}

/// As from a log that another version wrote, or that was edited.
TEST(Search, PassesOverKnownSchedulesThatCannotBe) {
  const Graph walk = small_walk();
  KernelTask task(walk, kSizes, cpu_device(), false);
  const Schedule own = cpu_device().schedule(walk, 0);
  SearchOptions options = coarse_search(1);
  const auto know = [&](const std::function<void(Schedule&)>& change) {
    TriedSchedule& known = options.known.emplace_back();
    known.schedule = own;
    known.ratio = 1e-3;
    change(known.schedule);
  };
  know([](Schedule& s) { s.width = 3; });
  know([](Schedule& s) { s.tile = 0; });
  know([](Schedule& s) { s.tile = std::numeric_limits<int>::max(); });
  know([](Schedule& s) { s.tile = -64; });
  know([](Schedule& s) { s.algorithm = 5; });
  know([](Schedule& s) { s.teams = 2; });
  know([](Schedule&) {});                        // the device's own is no faster than itself
  know([](Schedule& s) { s.row_blocks += 8; });  // nor is another one of the same code
  const SearchResult result = search_schedules(task, nullptr, options);
  EXPECT_LE(result.tried.size(), 1u);
  for (const TriedSchedule& known : options.known)
    EXPECT_TRUE(known.schedule == own || known.schedule != result.best) << known.schedule.str();
}

TEST(Search, OfAProductPassesOverAlgorithmsThatThereAreNot) {
  KernelTask task(a_product(fused_model("mambabyte:tiny", GraphKind::prefill)), {{"B", 2}, {"L", 600}}, cpu_device(),
                  false);
  SearchOptions options = coarse_search(0);
  options.known.emplace_back().schedule = cpu_device().schedule(task.graph(), 0);
  options.known[0].schedule.algorithm = task.algorithms();
  options.known[0].ratio = 0.1;
  EXPECT_TRUE(search_schedules(task, nullptr, options).tried.empty());
}

TEST(Search, TellsNothingApartWhereTimesVaryManyTimes) {
  EXPECT_TRUE(can_be_told_apart(2e-3, 1e-3));
  EXPECT_FALSE(can_be_told_apart(4e-3, 1e-3));
  const Graph walk = small_walk();
  std::chrono::milliseconds slower{0};
  const auto disturbed = test::slowed_device([&] { return slower; });
  KernelTask task(walk, {{"B", 1}, {"L", 4}}, *disturbed, false);
  SearchOptions options = coarse_search(1);
  options.tried = [&](const TriedSchedule&) { slower = std::chrono::milliseconds(60); };  // all that is measured after
  const SearchResult result = search_schedules(task, nullptr, options);
  EXPECT_FALSE(result.told_apart) << result.heuristic_seconds;
}

/// At small sizes there are fewer.
TEST(Search, OfAProductTriesWhatTheLibraryHas) {
  const Graph product = a_product(fused_model("mambabyte:tiny", GraphKind::prefill));
  for (const bool constant : {false, true}) {
    KernelTask task(product, {{"B", 2}, {"L", 600}}, cpu_device(), constant);
    ASSERT_GT(task.algorithms(), 2);
    SearchOptions options;
    options.first = Schedule::kLastAlgorithm;
    std::set<int> tried{0};
    options.tried = [&](const TriedSchedule& one) {
      EXPECT_EQ(one.wrong, "");
      EXPECT_GT(one.ratio, 0);
      tried.insert(one.schedule.algorithm);
    };
    const SearchResult result = search_schedules(task, nullptr, options);
    EXPECT_EQ(static_cast<int>(tried.size()), task.algorithms());
    EXPECT_LT(result.best.algorithm, task.algorithms());
  }
}

// ---- records -------------------------------------------------------------------------------------------------------

std::vector<KernelToTune> tiny_kernels(Device& device) {
  return kernels_to_tune(load_model("mambabyte:tiny"), {{GraphKind::step}, DType::f32, {{"B", 1}}, 0, "softplus"},
                         tune_target(device));
}

std::filesystem::path log_of_cpu(const TuningFolder& folder) {
  return TuningFolder::log_beside(folder.path_of(cpu_device().model().name));
}

TuneOptions quiet() {
  TuneOptions options;
  options.budget = 30;
  options.note = [](const std::string&) {};
  return options;
}

TEST(Tune, KeepsARecordThatProgramsUse) {
  const TemporaryFolder place;
  const TuningFolder folder(place / "tuned");
  std::vector<KernelToTune> kernels = tiny_kernels(cpu_device());
  ASSERT_FALSE(kernels.empty());
  const auto tuned = tune_kernels(kernels, cpu_device(), nullptr, folder, quiet());
  for (const TunedKernel& one : tuned) {
    ASSERT_TRUE(one.record.has_value()) << one.kernel.task.name;
    EXPECT_GT(one.tried, 0u);
    EXPECT_LE(one.record->seconds, one.record->heuristic_seconds);
    EXPECT_LE(one.record->error, 1);
  }
  const TuningFile file = folder.read(cpu_device().model().name);
  EXPECT_EQ(file.records.size(), tuned.size());
  const TunedSchedules schedules({{RecordSource::user, file}}, cpu_device().model().threads);
  const Graph fused = fused_model("mambabyte:tiny", GraphKind::step);
  for (const TunedKernel& one : tune_kernels(kernels, cpu_device(), nullptr, folder, quiet()))
    EXPECT_TRUE(one.had_record) << "a second run has nothing to do";
}

TEST(Tune, GoesOnAfterAnInterruption) {
  const TemporaryFolder place;
  const TuningFolder folder(place / "tuned");
  std::vector<KernelToTune> kernels = tiny_kernels(cpu_device());
  size_t logged = 0;
  TuneOptions options = quiet();
  const TuneLog log(log_of_cpu(folder));
  options.stop = [&] { return (logged = log.read().size()) > 0; };  // once something was tried
  const auto interrupted = tune_kernels(kernels, cpu_device(), nullptr, folder, options);
  EXPECT_GT(logged, 0u);
  for (const TunedKernel& one : interrupted) EXPECT_FALSE(one.record.has_value());
  const size_t before = log.read().size();
  tune_kernels(kernels, cpu_device(), nullptr, folder, quiet());
  std::set<std::string> seen;
  for (const LoggedTrial& trial : log.read())
    EXPECT_TRUE(seen.insert(trial.task.kernel + trial.tried.schedule.str()).second) << "tried twice";
  EXPECT_GT(log.read().size(), before);
}

TEST(Tune, ASearchThatTimeCutShortGoesOn) {
  const TemporaryFolder place;
  const TuningFolder folder(place / "tuned");
  const std::string device = cpu_device().model().name;
  const std::vector<KernelToTune> kernels = tiny_kernels(cpu_device());
  tune_kernels(kernels, cpu_device(), nullptr, folder, quiet());
  TuningFile file = folder.read(device);
  ASSERT_FALSE(file.records.empty());
  for (TuningRecord& record : file.records) {
    EXPECT_EQ(record.unfinished, 0);
    EXPECT_EQ(record.date.size(), time_text(0).size());
    record.unfinished = 1;
    record.date = "2999-01-01";
  }
  folder.merge(file, MergeRule::from);
  for (const TunedKernel& one : tune_kernels(kernels, cpu_device(), nullptr, folder, quiet())) {
    EXPECT_FALSE(one.had_record);
    EXPECT_FALSE(one.left());
  }
  for (const TuningRecord& record : folder.read(device).records) EXPECT_EQ(record.unfinished, 0) << record.name;
}

/// Where a launch takes so long that the time is over before schedules are told apart.
TEST(Tune, ASearchThatTimeCutShortKeepsNoHeuristic) {
  const TemporaryFolder place;
  const TuningFolder folder(place / "tuned");
  const auto slow = test::slowed_device([] { return std::chrono::milliseconds(20); });
  TuneOptions options = quiet();
  options.budget = 1;
  size_t tried = 0;
  for (const TunedKernel& one : tune_kernels(tiny_kernels(*slow), *slow, nullptr, folder, options)) {
    EXPECT_TRUE(one.left());
    EXPECT_TRUE(!one.record || one.record->schedule != one.record->heuristic) << "nothing was found out";
    tried += one.tried;
  }
  EXPECT_GT(tried, 0u);
}

TEST(Tune, AgainBeginsWithoutTheLog) {
  const TemporaryFolder place;
  const TuningFolder folder(place / "tuned");
  const std::vector<KernelToTune> kernels = tiny_kernels(cpu_device());
  size_t first = 0, second = 0, third = 0;
  for (const TunedKernel& one : tune_kernels(kernels, cpu_device(), nullptr, folder, quiet())) first += one.tried;
  TuneOptions options = quiet();
  options.again = true;
  for (const TunedKernel& one : tune_kernels(kernels, cpu_device(), nullptr, folder, options)) second += one.tried;
  EXPECT_GT(second, first / 3);
  std::filesystem::remove(folder.path_of(cpu_device().model().name));
  for (const TunedKernel& one : tune_kernels(kernels, cpu_device(), nullptr, folder, quiet())) third += one.tried;
  EXPECT_LT(third, second) << "the log holds what was tried";
}

/// Of a record that was not measured within a program, all that a search would leave for that.
TEST(Tune, ARecordFromBeforeHasItsFinalists) {
  const TemporaryFolder place;
  const TuningFolder folder(place / "tuned");
  const DeviceModel here = cpu_device().model();
  const std::vector<KernelToTune> kernels{tiny_kernels(cpu_device()).front()};
  const auto tuned = tune_kernels(kernels, cpu_device(), nullptr, folder, quiet());
  TuningRecord record = *tuned[0].record;
  const auto found = std::ranges::find_if(tuned[0].known, [&](const TriedSchedule& tried) {
    return tried.wrong.empty() && tried.schedule != record.heuristic;
  });
  ASSERT_NE(found, tuned[0].known.end());
  record.schedule = found->schedule;
  record.seconds = record.heuristic_seconds / 2;
  folder.merge({here.name, {record}}, MergeRule::from);
  std::filesystem::remove(log_of_cpu(folder));
  LoggedTrial faster{tuned[0].kernel.task, {record.heuristic, 0.25, 0.01, 0, 0.5, ""}};
  faster.tried.schedule.tile = faster.tried.schedule.unroll = 1;
  if (faster.tried.schedule == record.schedule) faster.tried.schedule.ahead += 1;
  LoggedTrial illegal = faster;
  illegal.tried.schedule.width = 3;
  for (const LoggedTrial& trial : {faster, illegal}) TuneLog(log_of_cpu(folder)).add(trial);
  const TunedKernel again = tune_kernels(kernels, cpu_device(), nullptr, folder, quiet())[0];
  EXPECT_TRUE(again.had_record);
  EXPECT_GT(again.heuristic_error, 0);
  ASSERT_EQ(again.finalists.size(), 2u);
  EXPECT_EQ(again.finalists[0].schedule, record.schedule);
  EXPECT_EQ(again.finalists[1].schedule, faster.tried.schedule);
}

TEST(Tune, WaitsForAnotherTuner) {
  const TemporaryFolder place;
  const TuningFolder folder(place / "tuned");
  FileLock other = folder.measuring_lock("a"), own = folder.measuring_lock("a");
  other.lock();
  std::vector<std::string> notes;
  TuneOptions options;
  options.note = [&](const std::string& line) { notes.push_back(line); };
  int asked = 0;
  options.stop = [&] { return ++asked == 3; };
  EXPECT_FALSE(wait_for_others(own, options)) << "it can be interrupted";
  EXPECT_EQ(notes, std::vector<std::string>{"another tuner measures this device: waiting for its end"});
  FileLock third = folder.measuring_lock("b");
  EXPECT_TRUE(wait_for_others(third, options));
  EXPECT_EQ(notes.size(), 1u);
}

TEST(TuningPage, ShowsEveryScheduleThatWasTimed) {
  TuningRecord record;
  record.kernel = "k";
  record.name = "a<b";
  record.sizes = {{"B", 1}};
  record.schedule.tile = 4;
  record.seconds = 0.5e-3;
  record.heuristic_seconds = 1e-3;
  record.toolkit = "LLVM";
  std::vector<LoggedTrial> trials;
  for (int tile : {1, 2, 4, 8}) {
    LoggedTrial trial{{"k", "a<b", {{"B", 1}}, 0, "LLVM", ""}, {}};
    trial.tried.schedule.tile = tile;
    trial.tried.ratio = tile == 4 ? 0.5 : 1.0 + tile / 10.0;
    trial.tried.predicted = trial.tried.ratio * 2e-3;
    trials.push_back(trial);
  }
  trials.push_back({{"other", "other", {}, 0, "LLVM", ""}, {Schedule{}, 0.1, 0, 0, 0, ""}});
  trials.push_back({{"k", "a<b", {{"B", 1}}, 0, "another LLVM", ""}, {Schedule{}, 0.1, 0, 0, 0, ""}});
  const std::string page = tuning_page({"GPU & Co", {record}}, trials);
  const auto count = [&](const std::string& what) {
    size_t found = 0;
    for (size_t at = page.find(what); at != std::string::npos; at = page.find(what, at + 1)) ++found;
    return found;
  };
  EXPECT_EQ(count("<circle"), 5u + 4u) << "the heuristic has no prediction";
  EXPECT_EQ(count("a&lt;b"), 1u);
  EXPECT_EQ(count("GPU &amp; Co"), 2u);
  EXPECT_EQ(count("rank correlation 1.00"), 1u);
}

TEST(RankCorrelation, OfRanksAndNotOfValues) {
  EXPECT_NEAR(rank_correlation({1, 2, 3, 4}, {1, 10, 100, 1000}), 1, 1e-12);
  EXPECT_NEAR(rank_correlation({1, 2, 3, 4}, {4, 3, 2, 1}), -1, 1e-12);
  EXPECT_NEAR(rank_correlation({1, 1, 2, 2}, {1, 2, 1, 2}), 0, 1e-12);
}

TEST(TuneLog, PassesOverALineThatWasCutOff) {
  const TemporaryFolder place;
  const TuneLog log(place / "tried.jsonl");
  LoggedTrial trial{{"k", "name", {{"B", 1}}, 2}, {Schedule{}, 0.5, 0.01, 2, 0.1, ""}};
  log.add(trial);
  trial.tried.schedule.tile = 4;
  trial.tried.error = std::numeric_limits<double>::infinity();
  trial.tried.wrong = "wrong";
  log.add(trial);
  std::string text = contents(log.path());
  ASSERT_EQ(log.read().size(), 2u);
  EXPECT_EQ(log.read()[1].tried.schedule.tile, 4);
  EXPECT_EQ(log.read()[1].tried.wrong, "wrong");
  const std::string lines = text;
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{{"\"schedule\":{}", "\"schedule\":{\"tile\":-1}"},
                                                        {"\"schedule\":{}", "\"schedule\":{\"tile\":99999999999}"},
                                                        {"\"schedule\":{}", "\"schedule\":{\"tile\":2.5}"},
                                                        {"\"schedule\":{}", "\"schedule\":{\"tiel\":2}"},
                                                        {"\"ratio\":0.5", "\"ratio\":1e-7"},
                                                        {"\"ratio\":0.5", "\"ratio\":-0.5"},
                                                        {"\"ratio\":0.5", "\"ratio\":1e7"},
                                                        {"\"threads\":2", "\"threads\":-2"},
                                                        {"\"toolkit\":\"\",", ""},
                                                        {"\"B\":1", "\"B\":" + std::string(200000, '[')}}) {
    text = lines;
    ASSERT_NE(text.find(from), std::string::npos) << from;
    place.write("tried.jsonl", text.replace(text.find(from), from.size(), to));
    EXPECT_EQ(log.read().size(), 1u) << to.substr(0, 40);
  }
  text = lines;
  for (size_t cut = 2; cut < text.size(); cut += 7) {
    place.write("tried.jsonl", text.substr(0, text.size() - cut));
    EXPECT_LE(log.read().size(), 1u) << cut;
  }
}

TEST(TuneLog, OfOneScheduleTheLastLineCounts) {
  const TemporaryFolder place;
  const TuneLog log(place / "tried.jsonl");
  LoggedTrial trial{{"k", "name", {{"B", 1}}, 2, "LLVM 19", ""}, {Schedule{}, 0.5, 0.01, 2, 0.1, ""}};
  log.add(trial);
  trial.tried.ratio = 0.75;
  log.add(trial);
  const std::vector<LoggedTrial> logged = log.read();
  ASSERT_EQ(tried_for(trial.task, logged).size(), 1u);
  EXPECT_EQ(tried_for(trial.task, logged)[0].ratio, 0.75);
  trial.task.toolkit = "LLVM 20";
  EXPECT_TRUE(tried_for(trial.task, logged).empty()) << "its times are others";
}

TEST(TuneLog, ALineThatWasCutOffDoesNotSpoilTheNextOne) {
  const TemporaryFolder place;
  const TuneLog log(place.write("tried.jsonl", "{\"kernel\": \"k"));
  const LoggedTrial trial{{"k", "name", {{"B", 1}}, 2, "LLVM 19", ""}, {Schedule{}, 0.5, 0.01, 2, 0.1, ""}};
  log.add(trial);
  log.add({{"other", "name", {}, 2, "LLVM 19", ""}, trial.tried});
  EXPECT_EQ(log.read().size(), 2u);
}

TEST(TuneLog, OnAFullDiskSaysSo) {
  const TemporaryFolder place;
  const TuneLog log(place.write("tried.jsonl", std::string(90, '\n')));
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{100, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = message_of<EnvironmentError>([&] { log.add({{"k", "name", {}, 2, "", ""}, {}}); });
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_NE(message.find("cannot be written: File too large"), std::string::npos) << message;
}

TEST(Milliseconds, HaveFourDigitsThatCount) {
  EXPECT_EQ(milliseconds(1.23456e-7), "0.0001235");
  EXPECT_EQ(milliseconds(1.5e-3), "1.5");
  EXPECT_EQ(milliseconds(23.45678), "23457");
}

}  // namespace
}  // namespace mambac::tools
