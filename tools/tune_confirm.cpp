#include "tools/tune_confirm.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "codegen/lower.h"
#include "ir/error.h"
#include "ir/trace.h"
#include "tools/port_memory.h"

namespace mambac::tools {
namespace {

constexpr int kLeastRounds = 5, kMostRounds = 31;
constexpr double kLongEnough = 20;  // seconds, after the fewest rounds
constexpr double kWorthIt = 0.99;   // of the time under the device's own schedule

/// A program under several schedules; all have the same inputs.
class ProgramTrial {
 public:
  ProgramTrial(const SourceProgram& program, const Bindings& sizes, const Target& target, const Candidates& candidates)
      : candidates_(candidates) {
    size_t most = 0;
    for (const auto& [digest, schedules] : candidates) most = std::max(most, schedules.size());
    const int64_t room = target.device().free_memory();
    for (size_t variant = 0; variant <= most; ++variant) {
      variants_.push_back(compile(program.source, program.options, sizes, target, scheduler(target.device(), variant)));
      if (variant == 0) most = std::min(most, others_that_fit(room));
      memory_.bind(**variants_.back());
    }
    const Graph& graph = variants_.front()->program->graph();
    Filling filling;
    filling.below = integers_below(graph);
    fill_inputs(graph, **variants_.front(), memory_, filling);
    for (size_t k = 0; k < graph.kernels.size(); ++k)
      digests_.push_back(kernel_key(graph, static_cast<int>(k)).digest());
    for (const auto& variant : variants_) (**variant).run();  // pages are touched, constants computed
  }

  std::optional<TimesInProgram> run(double until, const std::function<bool()>& stop) {
    const double begun = now();
    const auto is_over = [&](int round) {
      return stop() || now() > until || (round >= kLeastRounds && now() - begun > kLongEnough);
    };
    int round = 0;
    for (; round < kMostRounds && !is_over(round); ++round) {
      measure();
      if (round == 0 && now() + (kLeastRounds - 1) * (now() - begun) > until) keep_first_candidates();
    }
    if (round < kLeastRounds) return {};
    return result();
  }

 private:
  /// Beside the first variant. Memory of a host is taken when it is touched, by when it is too late to refuse it.
  size_t others_that_fit(int64_t room) const {
    const Executable& first = **variants_.front();
    const auto each = static_cast<int64_t>(first.planned_bytes());
    int64_t shared = 0;
    for (const std::vector<Port>* ports : {&first.inputs(), &first.outputs()})
      for (const Port& port : *ports) shared += port.elements * static_cast<int64_t>(bytes_of(port.dtype));
    const int64_t fitting = (room - room / 8 - shared) / std::max<int64_t>(each, 1);
    if (fitting < 2)
      throw EnvironmentError(fmt::format("two of its programs side by side need {:.1f} GB, {:.1f} GB are free",
                                         1e-9 * static_cast<double>(shared + 2 * each), 1e-9 * static_cast<double>(room)));
    return static_cast<size_t>(fitting - 1);
  }

  void keep_first_candidates() {
    variants_.resize(std::min<size_t>(variants_.size(), 2));
    for (auto& [digest, ratios] : ratios_) ratios.resize(1);
  }

  Program::Scheduler scheduler(Device& device, size_t variant) const {
    return [this, &device, variant](const Graph& fused, int number) {
      const Schedule own = device.schedule(fused, number);
      const auto found = candidates_.find(kernel_key(fused, number).digest());
      if (found == candidates_.end() || variant == 0 || variant > found->second.size()) return own;
      const Schedule& candidate = found->second[variant - 1];
      return why_illegal(fused, number, candidate, device.kind()).empty() ? candidate : own;
    };
  }

  void measure() {
    const trace::Span span("tune", "round within the program");
    std::map<std::string, double> own;
    for (size_t variant = 0; variant < variants_.size(); ++variant) {
      const std::map<std::string, double> here = seconds_by_kernel(**variants_[variant]);
      if (variant == 0) {
        own = here;
        double total = 0;
        for (const auto& [digest, seconds] : own) total += seconds;
        totals_.push_back(total);
      }
      for (const auto& [digest, schedules] : candidates_) {
        if (!own.contains(digest)) continue;
        if (variant == 0) own_[digest].push_back(own.at(digest));
        if (variant == 0 || variant > schedules.size()) continue;
        std::vector<std::vector<double>>& ratios = ratios_[digest];
        ratios.resize(std::max(ratios.size(), variant));
        ratios[variant - 1].push_back(here.at(digest) / own.at(digest));
      }
    }
  }

  std::map<std::string, double> seconds_by_kernel(Executable& executable) const {
    std::map<std::string, double> sums;
    const std::vector<KernelTime> times = executable.run_timed();
    check(times.size() == digests_.size(), "times of other kernels than the program's");
    for (size_t k = 0; k < times.size(); ++k) sums[digests_[k]] += times[k].seconds;
    return sums;
  }

  TimesInProgram result() const {
    TimesInProgram found;
    found.seconds = interval_of(totals_).median;
    for (const auto& [digest, seconds] : own_) {
      TimesInProgram::OfKernel& kernel = found.kernels[digest];
      kernel.seconds = interval_of(seconds).median;
      for (const std::vector<double>& of_candidate : ratios_.at(digest))
        kernel.ratios.push_back(interval_of(of_candidate));
    }
    return found;
  }

  const Candidates& candidates_;
  PortMemory memory_;
  std::vector<std::unique_ptr<Compiled>> variants_;
  std::vector<std::string> digests_;  // by kernel
  std::vector<double> totals_;
  std::map<std::string, std::vector<double>> own_;
  std::map<std::string, std::vector<std::vector<double>>> ratios_;  // by candidate
};

class Confirmation {
 public:
  Confirmation(std::vector<TunedKernel>& kernels, Device& device, const TuningFolder& folder)
      : kernels_(kernels), device_(device), folder_(folder) {
    for (const TunedKernel& one : kernels) {
      alone_.push_back(one.record);
      for (const TriedSchedule& finalist : one.finalists)
        candidates_[one.kernel.task.kernel].push_back(finalist.schedule);
    }
  }

  const Candidates& candidates() const { return candidates_; }

  void keep(GraphKind kind, TimesInProgram times) {
    graphs_.push_back(kind);
    times_.push_back(std::move(times));
    TuningFile changed{device_.model().name, {}};
    for (size_t i = 0; i < kernels_.size(); ++i) {
      TunedKernel& one = kernels_[i];
      if (!times_.back().kernels.contains(one.kernel.task.kernel) || !one.record) continue;
      one.record = alone_[i];
      choose_in_program(one, ratios_over(times_, one.kernel.task.kernel));
      one.record->date = time_text(std::time(nullptr));
      changed.records.push_back(*one.record);
    }
    if (!changed.records.empty()) folder_.merge(changed, MergeRule::from);
  }

  /// Under what was chosen in the end.
  std::vector<ConfirmedProgram> programs() const {
    std::vector<ConfirmedProgram> programs;
    for (size_t i = 0; i < graphs_.size(); ++i) {
      const double own = times_[i].seconds;
      programs.push_back({graphs_[i], own, own});
      for (const TunedKernel& one : kernels_) programs.back().seconds -= gained(one, times_[i]);
    }
    return programs;
  }

 private:
  static double gained(const TunedKernel& one, const TimesInProgram& times) {
    const auto found = times.kernels.find(one.kernel.task.kernel);
    if (found == times.kernels.end() || !one.record) return 0;
    const auto& [seconds, ratios] = found->second;
    for (size_t i = 0; i < ratios.size(); ++i)
      if (one.finalists[i].schedule == one.record->schedule) return seconds * (1 - ratios[i].median);
    return 0;
  }

  std::vector<TunedKernel>& kernels_;
  Device& device_;
  const TuningFolder& folder_;
  Candidates candidates_;
  std::vector<std::optional<TuningRecord>> alone_;  // of each kernel, by itself
  std::vector<GraphKind> graphs_;
  std::vector<TimesInProgram> times_;  // of each graph
};

}  // namespace

std::optional<TimesInProgram> times_in_program(const SourceProgram& program, const Bindings& sizes,
                                               const Target& target, const Candidates& candidates, double seconds,
                                               const std::function<bool()>& stop) {
  if (seconds <= 0) return {};
  const double until = now() + seconds;
  return ProgramTrial(program, sizes, target, candidates).run(until, stop);
}

std::vector<double> ratios_over(const std::vector<TimesInProgram>& programs, const std::string& kernel) {
  double own = 0;
  std::vector<double> sums;
  for (const TimesInProgram& times : programs) {
    const auto found = times.kernels.find(kernel);
    if (found == times.kernels.end()) continue;
    const auto& [seconds, ratios] = found->second;
    sums.resize(own == 0 ? ratios.size() : std::min(sums.size(), ratios.size()));
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += seconds * ratios[i].median;
    own += seconds;
  }
  for (double& sum : sums) sum /= own;
  return sums;
}

void choose_in_program(TunedKernel& kernel, const std::vector<double>& ratios) {
  const auto best = std::ranges::min_element(ratios);
  TuningRecord& record = *kernel.record;
  if (!(*best < kWorthIt)) {
    record.schedule = record.heuristic;
    record.seconds = record.heuristic_seconds;
    record.error = kernel.heuristic_error;
    record.predicted_seconds = 0;  // what was predicted is of the other one
    record.in_program = 1;
    return;
  }
  const TriedSchedule& finalist = kernel.finalists[static_cast<size_t>(best - ratios.begin())];
  record.in_program = *best;
  if (finalist.schedule == record.schedule) return;
  record.schedule = finalist.schedule;
  record.seconds = record.heuristic_seconds * finalist.ratio;
  record.spread = finalist.spread;
  record.error = finalist.error;
  record.predicted_seconds = finalist.predicted;
}

std::vector<ConfirmedProgram> confirm_in_programs(std::vector<TunedKernel>& kernels, const Model& model,
                                                  const TuneModelOptions& chosen, Device& device,
                                                  const TuningFolder& folder, const TuneOptions& options) {
  const double until = now() + options.budget;
  const auto stop = [&] { return options.stop && options.stop(); };
  Confirmation confirmation(kernels, device, folder);
  for (const GraphKind kind : chosen.graphs) {
    if (confirmation.candidates().empty() || stop()) break;
    if (options.progress)
      options.progress(progress_of(kernels, kernels.size(), fmt::format("the whole of {}", name_of(kind))));
    const auto unconfirmed = [&](const std::string& why) {
      options.note(fmt::format("{}: what was found is not measured within the program: {}", name_of(kind), why));
    };
    const DeviceModel here = device.model();
    TunedSchedules places({{RecordSource::user, folder.read(here.name)}}, here.threads, here.library);
    try {
      const SourceProgram program = program_to_tune(model, kind, chosen, tune_target(device));
      auto times = times_in_program(program, chosen.sizes, Target(device, &places), confirmation.candidates(),
                                    until - now(), stop);
      if (times)
        confirmation.keep(kind, std::move(*times));
      else unconfirmed(stop() ? "it was interrupted" : "there is no time left");
    } catch (const EnvironmentError& failure) {
      unconfirmed(failure.what());
    }
  }
  return confirmation.programs();
}

}  // namespace mambac::tools
