#include "tools/tune_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <map>

#include "codegen/kernel_name.h"
#include "ir/trace.h"
#include "passes/kernel_alone.h"
#include "passes/plan.h"
#include "tools/tune_search.h"
#include "tools/tune_times.h"
#include "tools/tuned_fusion.h"

namespace mambac::tools {
namespace {

std::string today() {
  const std::time_t time = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&time, &parts);
  return fmt::format("{:04}-{:02}-{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
}

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
        model_(model),
        folder_(folder),
        options_(options),
        begun_(now()),
        log_(folder.path_of(device.model().name).replace_extension(TuneLog::kExtension)) {}

  std::vector<TunedKernel> run(std::vector<KernelToTune> kernels) {
    if (!options_.survey) std::filesystem::create_directories(folder_.folder());
    known_ = folder_.read(device_.model().name);
    for (KernelToTune& kernel : kernels) {
      if (!keeps_records(kernel.alone, 0)) continue;
      tuned_.emplace_back().kernel = std::move(kernel);
    }
    for (TunedKernel& one : tuned_) look_at(one);
    std::ranges::stable_sort(tuned_, std::greater(), [](const TunedKernel& one) { return weight(one); });
    for (size_t i = 0; i < tuned_.size() && !stopped(); ++i) tune(i);
    return std::move(tuned_);
  }

 private:
  static double weight(const TunedKernel& one) {
    return one.kernel.seconds * std::max(one.kernel.launches, one.kernel.launches_other);
  }
  double left() const { return options_.budget - (now() - begun_); }
  bool stopped() const { return left() <= 0 || (options_.stop && options_.stop()); }

  /// How long a launch takes, which decides when its turn comes.
  void look_at(TunedKernel& one) {
    const auto known = std::ranges::find_if(known_.records, [&](const TuningRecord& record) {
      return record.kernel == one.kernel.task.kernel && record.sizes == one.kernel.task.sizes &&
             record.threads == one.kernel.task.threads;
    });
    if (!options_.again && known != known_.records.end()) take(one, *known);
    if (stopped()) return;
    report(one.kernel.task.name, 0);
    const trace::Span span("tune", "look at " + one.kernel.task.name);
    KernelTask task(one.kernel.alone, one.kernel.task.sizes, device_, one.kernel.constant_parameters);
    KernelTrial trial(task, device_.schedule(one.kernel.alone, 0));
    trial.seconds();
    one.kernel.seconds = trial.seconds();
  }

  static void take(TunedKernel& one, const TuningRecord& known) {
    one.had_record = true;
    one.record = known;
    if (known.in_program > 0 || known.schedule == known.heuristic) return;
    TriedSchedule& finalist = one.finalists.emplace_back();
    finalist.schedule = known.schedule;
    finalist.ratio = known.seconds / known.heuristic_seconds;
  }

  void tune(size_t i) {
    TunedKernel& one = tuned_[i];
    report(one.kernel.task.name, i);
    if (one.had_record) return;
    double rest = 0;
    for (size_t k = i; k < tuned_.size(); ++k)
      if (!tuned_[k].had_record) rest += std::sqrt(weight(tuned_[k]));  // what takes long is not all that counts
    const double share = left() * std::sqrt(weight(one)) / rest, until = now() + share;
    const trace::Span span("tune", one.kernel.task.name);
    KernelTask task(one.kernel.alone, one.kernel.task.sizes, device_, one.kernel.constant_parameters);
    SearchOptions search;
    if (!options_.survey) search.known = log_.of(one.kernel.task);
    search.predict_seconds = kOfPredictions * share;
    search.in_place = one.kernel.in_place;
    search.survey = options_.survey;
    if (options_.survey) search.first = kSurveyed;
    search.stop = [&] { return now() > until || stopped(); };
    search.tried = [&](const TriedSchedule& tried) {
      if (!options_.survey) log_.add({one.kernel.task, tried});
      ++one.tried;
      if (tried.wrong.empty()) return;
      ++one.wrong;
      options_.note(fmt::format("{}: rejected {}: {}", one.kernel.task.name, tried.schedule.str(), tried.wrong));
    };
    SearchResult found;
    try {
      found = search_schedules(task, model_, search);
    } catch (const InputError& failure) {
      return options_.note(fmt::format("{}: {}", one.kernel.task.name, failure.what()));
    }
    if (options_.stop && options_.stop()) return;  // what was tried is in the log
    if (options_.survey)
      one.surveyed = {found.heuristic_seconds, found.predicted, found.tried, prediction_quality(found.tried)};
    else
      keep(one, found);
    report(one.kernel.task.name, i + 1);
  }

  void keep(TunedKernel& one, const SearchResult& found) {
    const DeviceModel model = device_.model();
    TuningRecord record{.kernel = one.kernel.task.kernel,
                        .name = one.kernel.task.name,
                        .sizes = one.kernel.task.sizes,
                        .threads = one.kernel.task.threads,
                        .schedule = found.best,
                        .heuristic = found.heuristic,
                        .seconds = found.seconds,
                        .spread = found.spread,
                        .heuristic_seconds = found.heuristic_seconds,
                        .predicted_seconds = found.predicted,
                        .error = found.error,
                        .architecture = model.architecture,
                        .toolkit = one.kernel.kind == KernelGroup::library ? model.library : model.toolkit,
                        .driver = model.driver,
                        .date = today()};
    if (const auto damaged = folder_.merge({model.name, {record}}).damaged)
      options_.note(fmt::format("the file of records was damaged; it is kept as '{}'", damaged->string()));
    options_.note(fmt::format("{:<60} {:>9.3f} ms -> {:>9.3f} ms  {:.2f}x  ({} schedules)", record.name,
                              1e3 * record.heuristic_seconds, 1e3 * record.seconds,
                              record.heuristic_seconds / record.seconds, one.tried));
    one.record = std::move(record);
    one.heuristic_error = found.heuristic_error;
    one.finalists = finalists(found);
  }

  void report(const std::string& kernel, size_t done) {
    if (!options_.progress) return;
    options_.progress(progress_of(tuned_, done, kernel));
  }

  Device& device_;
  CostModel* model_;
  const TuningFolder& folder_;
  const TuneOptions& options_;
  const double begun_;
  const TuneLog log_;
  TuningFile known_;
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

std::vector<TunedKernel> tune_kernels(std::vector<KernelToTune> kernels, Device& device, CostModel* model,
                                      const TuningFolder& folder, const TuneOptions& options) {
  return Tuner(device, model, folder, options).run(std::move(kernels));
}

}  // namespace mambac::tools
