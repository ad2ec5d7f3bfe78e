// Tuned schedules within the programs that they are for: what a kernel finds in the caches there is not what it finds
// when it runs by itself again and again.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tools/compile.h"
#include "tools/tune_model.h"
#include "tools/tune_times.h"

namespace mambac::tools {

/// Schedules of kernels to choose from, by KernelKey::digest, the most promising one first.
using Candidates = std::map<std::string, std::vector<Schedule>>;

struct TimesInProgram {
  struct OfKernel {
    double seconds = 0;            // of all its launches in a run, under the device's own schedule
    std::vector<Interval> ratios;  // of its candidates' time to that in the same round, as many as there was time for
  };
  double seconds = 0;                      // of a run under the device's own schedules
  std::map<std::string, OfKernel> kernels;  // those with candidates, by digest
};

/// Runs a program under the device's own schedules, under the first candidates of all kernels, under the second ones, and
/// so on, by turns. Small projections are computed where the target's records say. It takes `seconds` at most, if need be
/// with the first candidates alone, and nothing is returned when that, too, is too much, or `stop` ends it.
/// EnvironmentError when not even two programs have memory side by side.
std::optional<TimesInProgram> times_in_program(const SourceProgram& program, const Bindings& sizes,
                                               const Target& target, const Candidates& candidates, double seconds,
                                               const std::function<bool()>& stop);

/// Of a kernel's candidates: the time of its launches in all programs that have it, of that under the device's own
/// schedule; of as many as were measured in each of these programs.
std::vector<double> ratios_over(const std::vector<TimesInProgram>& programs, const std::string& kernel);

/// Gives a kernel's record the finalist of the smallest ratio; the device's own schedule when that is not faster by a
/// hundredth. `ratios`: of its finalists, one or more. The record is that of the kernel by itself.
void choose_in_program(TunedKernel& kernel, const std::vector<double>& ratios);

struct ConfirmedProgram {
  GraphKind graph{};
  double own_seconds = 0, seconds = 0;  // of a run's kernels under the device's own schedules, and under those that stay
};

/// Measures the finalists of tuned kernels within the model's programs, and keeps after each what choose_in_program()
/// chooses by all that were measured so far. All of it takes about options.budget at most. Records of kernels in
/// programs for which time or memory does not suffice stay as they are, and a note says so.
std::vector<ConfirmedProgram> confirm_in_programs(std::vector<TunedKernel>& kernels, const Model& model,
                                                  const TuneModelOptions& chosen, Device& device,
                                                  const TuningFolder& folder, const TuneOptions& options);

}  // namespace mambac::tools
