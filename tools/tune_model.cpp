#include "tools/tune_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <map>
#include <thread>

#include "codegen/kernel_name.h"
#include "ir/trace.h"
#include "passes/kernel_alone.h"
#include "passes/plan.h"
#include "tools/tune_search.h"
#include "tools/tune_times.h"
#include "tools/tuned_fusion.h"

namespace mambac::tools {
namespace {

PipelineOptions with_device(PipelineOptions options, const TuneTarget& target) {
  options.fuse = device_options(target.fusion, options.fuse);
  return options;
}

class Collector {
 public:
  Collector(const Model& model, const TuneModelOptions& options, const TuneTarget& target)
      : model_(model), options_(options), target_(target) {}

  std::vector<KernelToTune> collect() {
    for (const GraphKind kind : options_.graphs) {
      const auto [source, pipeline] = program_to_tune(model_, kind, options_, target_);
      add(source, pipeline, &KernelToTune::launches);
      if (options_.both_fusions && has_two_fusions(source, pipeline))
        add(source, with_other_fusion(pipeline), &KernelToTune::launches_other);
      if (kind == GraphKind::train) add_optimiser(source_graph(model_, kind));
    }
    return std::move(kernels_);
  }

 private:
  void add_optimiser(const Graph& training) {
    const ParameterLayout layout = layout_of(training);
    const auto add_block = [&](const char* block, int64_t parameters) {
      if (parameters > 0)
        add(instantiate_block(model_, block, {{"P", parameters}}),
            with_device(options_for(GraphKind::eval, DType::f32, {}), target_), &KernelToTune::launches);
    };
    add_block("sum_squares", layout.size());
    add_block("adamw", layout.decayed());
    add_block("adamw", layout.size() - layout.decayed());
  }

  void add(const Graph& source, const PipelineOptions& pipeline, int KernelToTune::*launches) {
    const Graph fused = run_pipeline(source, pipeline).graph;
    std::vector<bool> constant(fused.kernels.size());
    if (pipeline.narrow_parameters) constant = constant_kernels(fused);
    for (size_t k = 0; k < fused.kernels.size(); ++k)
      if (!constant[k]) add_kernel(fused, static_cast<int>(k), pipeline.narrow_parameters, launches);
  }

  void add_kernel(const Graph& fused, int number, bool constant_parameters, int KernelToTune::*launches) {
    const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
    const bool library = group.kind == KernelGroup::library;
    const std::string name = kernel_name(fused, number);
    if (name.find(options_.kernels) == std::string::npos) return;
    const KernelKey key = kernel_key(fused, number);
    const TuneTask task{key.digest(), name, sizes_for(fused, key, options_.sizes), target_.threads};
    const auto known = std::ranges::find_if(kernels_, [&](const KernelToTune& one) {
      return one.task.kernel == task.kernel && one.task.sizes == task.sizes;
    });
    if (known != kernels_.end()) {
      ++((*known).*launches);
      return;
    }
    kernels_.push_back({.alone = kernel_alone(fused, number, Stored::in_memory),
                        .task = task,
                        .kind = group.kind,
                        .constant_parameters = constant_parameters,
                        .in_place = !library && has_place_of_input(fused, number)});
    kernels_.back().*launches = 1;
  }

  bool has_place_of_input(const Graph& fused, int number) const {
    const LoweredKernel kernel = lower(fused, Layouts(fused), number, target_.own(fused, number), target_.kind);
    return std::ranges::any_of(kernel.kernel.buffers,
                               [](const loop::Buffer& buffer) { return !buffer.in_place_of.empty(); });
  }

  const Model& model_;
  const TuneModelOptions& options_;
  const TuneTarget& target_;
  std::vector<KernelToTune> kernels_;
};

constexpr size_t kSurveyed = 24;  // schedules of each kernel
constexpr double kOfPredictions = 0.25;  // of a kernel's time, each time that it is predicted what to measure

class Tuner {
 public:
  Tuner(Device& device, CostModel* model, const TuningFolder& folder, const TuneOptions& options)
      : device_(device),
        here_(device.model()),
        model_(model),
        folder_(folder),
        options_(options),
        begun_(now()),
        log_(TuningFolder::log_beside(folder.path_of(here_.name))) {}

  std::vector<TunedKernel> run(std::vector<KernelToTune> kernels) {
    if (!options_.survey) folder_.prepare();
    records_ = folder_.read(here_.name);
    std::vector<LoggedTrial> logged;
    if (!options_.again) logged = log_.read();
    for (KernelToTune& kernel : kernels)
      if (keeps_records(kernel.alone, 0)) add(std::move(kernel), logged);
    for (TunedKernel& one : tuned_) look_at(one);
    std::ranges::stable_sort(tuned_, std::greater(), [](const TunedKernel& one) { return weight(one); });
    while (tune_all()) {
    }
    return std::move(tuned_);
  }

 private:
  static double weight(const TunedKernel& one) {
    return one.kernel.seconds * std::max(one.kernel.launches, one.kernel.launches_other);
  }
  static bool is_done(const TunedKernel& one) { return one.had_record || one.given_up || one.surveyed || !one.left(); }
  double left() const { return options_.budget - (now() - begun_); }
  bool interrupted() const { return options_.stop && options_.stop(); }
  bool stopped() const { return left() <= 0 || interrupted(); }

  void add(KernelToTune kernel, const std::vector<LoggedTrial>& logged) {
    TunedKernel& one = tuned_.emplace_back();
    one.kernel = std::move(kernel);
    TuneTask& task = one.kernel.task;
    task.toolkit = one.kernel.kind == KernelGroup::library ? here_.library : here_.toolkit;
    task.driver = here_.driver;
    one.known = tried_for(task, logged);
  }

  /// How long a launch takes, which decides when its turn comes.
  void look_at(TunedKernel& one) {
    const auto known = std::ranges::find_if(records_.records, [&](const TuningRecord& record) {
      return record.kernel == one.kernel.task.kernel && record.sizes == one.kernel.task.sizes &&
             record.threads == one.kernel.task.threads;
    });
    if (!options_.again && known != records_.records.end()) one.record = *known;
    one.had_record = !one.left();
    if (stopped()) return;
    report(one.kernel.task.name);
    const trace::Span span("tune", "look at " + one.kernel.task.name);
    KernelTask task(one.kernel.alone, one.kernel.task.sizes, device_, one.kernel.constant_parameters);
    KernelTrial trial(task, device_.schedule(one.kernel.alone, 0));
    if (one.had_record && one.record->in_program == 0) take_finalists(one, task, trial);
    trial.seconds();
    one.kernel.seconds = trial.seconds();
  }

  /// Of a record that was not measured within a program: what a search would leave for that.
  static void take_finalists(TunedKernel& one, const KernelTask& task, KernelTrial& heuristic) {
    const TuningRecord& record = *one.record;
    if (record.schedule == record.heuristic) return;
    one.heuristic_error = heuristic.error();
    if (!std::isfinite(one.heuristic_error)) return;
    SearchResult found;
    found.heuristic = record.heuristic;
    found.best = record.schedule;
    found.tried = {{record.schedule, record.seconds / record.heuristic_seconds, record.spread, record.predicted_seconds,
                    record.error, ""}};
    for (const TriedSchedule& tried : one.known)
      if (tried.schedule != record.schedule) found.tried.push_back(tried);
    std::erase_if(found.tried, [&](const TriedSchedule& tried) { return !can_be_tried(task, tried.schedule); });
    one.finalists = finalists(found);
  }

  /// Gives each kernel that is not done a share of the time that is left. Whether there was one, and is time.
  bool tune_all() {
    bool any = false;
    for (size_t i = 0; i < tuned_.size() && !stopped(); ++i) {
      report(tuned_[i].kernel.task.name);
      if (is_done(tuned_[i])) continue;
      any = true;
      tune(tuned_[i], share(i));
    }
    return any && !stopped();
  }

  double share(size_t i) const {
    double rest = 0;
    for (size_t k = i; k < tuned_.size(); ++k)
      if (!is_done(tuned_[k])) rest += std::sqrt(weight(tuned_[k]));  // what takes long is not all that counts
    return left() * std::sqrt(weight(tuned_[i])) / rest;
  }

  void tune(TunedKernel& one, double seconds) {
    const trace::Span span("tune", one.kernel.task.name);
    const double until = now() + seconds;
    KernelTask task(one.kernel.alone, one.kernel.task.sizes, device_, one.kernel.constant_parameters);
    SearchOptions search;
    if (!options_.survey) search.known = one.known;
    search.predict_seconds = kOfPredictions * seconds;
    search.in_place = one.kernel.in_place;
    search.survey = options_.survey;
    if (options_.survey) search.first = kSurveyed;
    search.stop = [&] { return now() > until || stopped(); };
    search.tried = [&](const TriedSchedule& tried) { note_tried(one, tried); };
    SearchResult found;
    try {
      found = search_schedules(task, model_, search);
    } catch (const InputError& failure) {
      return give_up(one, failure.what());
    }
    if (interrupted()) return;  // what was tried is in the log
    if (options_.survey)
      one.surveyed = {found.heuristic_seconds, found.predicted, found.tried, prediction_quality(found.tried)};
    else if (!found.told_apart)
      give_up(one, "its times vary too much for schedules to be told apart, so that nothing is kept");
    else if (found.complete || found.best != found.heuristic || one.record)
      keep(one, found);
    report(one.kernel.task.name);
  }

  void note_tried(TunedKernel& one, const TriedSchedule& tried) {
    if (!options_.survey) log_.add({one.kernel.task, tried});
    one.known.push_back(tried);
    ++one.tried;
    if (tried.wrong.empty()) return;
    ++one.wrong;
    options_.note(fmt::format("{}: rejected {}: {}", one.kernel.task.name, tried.schedule.str(), tried.wrong));
  }

  void give_up(TunedKernel& one, const std::string& why) {
    one.given_up = true;
    options_.note(fmt::format("{}: {}", one.kernel.task.name, why));
  }

  void keep(TunedKernel& one, const SearchResult& found) {
    const TuneTask& task = one.kernel.task;
    TuningRecord record{.kernel = task.kernel,
                        .name = task.name,
                        .sizes = task.sizes,
                        .threads = task.threads,
                        .schedule = found.best,
                        .heuristic = found.heuristic,
                        .seconds = found.seconds,
                        .spread = found.spread,
                        .heuristic_seconds = found.heuristic_seconds,
                        .predicted_seconds = found.predicted,
                        .unfinished = found.complete ? 0 : 1,
                        .error = found.error,
                        .architecture = here_.architecture,
                        .toolkit = task.toolkit,
                        .driver = task.driver,
                        .date = time_text(std::time(nullptr))};
    if (const auto damaged = folder_.merge({here_.name, {record}}, MergeRule::from).damaged)
      options_.note(fmt::format("the file of records was damaged; it is kept as '{}'", damaged->string()));
    options_.note(fmt::format("{:<60} {:>9} ms -> {:>9} ms  {:.2f}x  ({} schedules{})", record.name,
                              milliseconds(record.heuristic_seconds), milliseconds(record.seconds),
                              record.heuristic_seconds / record.seconds, one.tried, found.complete ? "" : " so far"));
    one.record = std::move(record);
    one.heuristic_error = found.heuristic_error;
    one.finalists = finalists(found);
  }

  void report(const std::string& kernel) {
    if (options_.progress)
      options_.progress(progress_of(tuned_, static_cast<size_t>(std::ranges::count_if(tuned_, is_done)), kernel));
  }

  Device& device_;
  const DeviceModel here_;
  CostModel* model_;
  const TuningFolder& folder_;
  const TuneOptions& options_;
  const double begun_;
  const TuneLog log_;
  TuningFile records_;
  std::vector<TunedKernel> tuned_;
};

}  // namespace

TuneTarget tune_target(Device& device) {
  return {device.kind(), device.fuse_options(), schedules_of(device), device.model().threads};
}

TuneTarget tune_target(CostModel& model) {
  const auto own = [&model](const Graph& fused, int number) { return model.heuristic(fused, number); };
  return {model.kind(), model.kind() == DeviceKind::gpu ? gpu_fuse_options() : FuseOptions{}, own, 0};
}

SourceProgram program_to_tune(const Model& model, GraphKind kind, const TuneModelOptions& options,
                              const TuneTarget& target) {
  SourceProgram program = program_of(model, kind, options.storage, options.sizes);
  program.options = with_device(program.options, target);
  program.options.recompute = kind == GraphKind::train ? options.recompute : 0;
  return program;
}

std::vector<KernelToTune> kernels_to_tune(const Model& model, const TuneModelOptions& options,
                                          const TuneTarget& target) {
  return Collector(model, options, target).collect();
}

TuneProgress progress_of(const std::vector<TunedKernel>& kernels, size_t done, const std::string& at) {
  TuneProgress progress{done, kernels.size(), 0, 0, at};
  for (const TunedKernel& one : kernels) {
    const int n = std::max(one.kernel.launches, one.kernel.launches_other);
    progress.heuristic_seconds += n * (one.record ? one.record->heuristic_seconds : one.kernel.seconds);
    progress.seconds += n * (one.record ? one.record->seconds : one.kernel.seconds);
  }
  return progress;
}

bool wait_for_others(FileLock& lock, const TuneOptions& options) {
  constexpr auto kBetween = std::chrono::milliseconds(100);
  for (bool told = false; !lock.try_lock(); told = true) {
    if (options.stop && options.stop()) return false;
    if (!told) options.note("another tuner measures this device: waiting for its end");
    std::this_thread::sleep_for(kBetween);
  }
  return true;
}

std::vector<TunedKernel> tune_kernels(std::vector<KernelToTune> kernels, Device& device, CostModel* model,
                                      const TuningFolder& folder, const TuneOptions& options) {
  return Tuner(device, model, folder, options).run(std::move(kernels));
}

}  // namespace mambac::tools
