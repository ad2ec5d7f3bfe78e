// The kernels that a model's programs have, each once, and the tuning of all of them within a time.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "runtime/tuning/tuning_folder.h"
#include "tools/compile.h"
#include "tools/cost_model.h"
#include "tools/tune_log.h"
#include "tools/tune_quality.h"
#include "tools/tune_search.h"

namespace mambac::tools {

/// A kernel that is tuned for all its launches.
struct KernelToTune {
  Graph alone;  // Stored::in_memory
  TuneTask task;
  KernelGroup::Kind kind{};
  int launches = 0;        // of a run of the programs as the device has them
  int launches_other = 0;  // with the other place for small projections (tools/tuned_fusion.h)
  bool constant_parameters = false;
  bool in_place = false;  // its program may have outputs in the place of inputs
  double seconds = 0;  // of a launch under the device's own schedule, measured once
};

struct TuneModelOptions {
  std::vector<GraphKind> graphs;  // train (with the optimiser), prefill, step, eval
  DType storage = DType::f32;
  Bindings sizes;                 // B and L
  int recompute = 0;
  std::string kernels;            // of which a part of the name in emitted code is this; empty: all
  bool both_fusions = false;      // those, too, that there are with the other place for small projections
};

/// What a device, there or described, makes of a model's programs.
struct TuneTarget {
  DeviceKind kind = DeviceKind::cpu;
  FuseOptions fusion;
  Program::Scheduler own;  // its schedules
  int threads = 0;         // DeviceModel::threads
};
TuneTarget tune_target(Device& device);
/// Of a described device.
TuneTarget tune_target(CostModel& model);

/// One of those programs, for the target.
SourceProgram program_to_tune(const Model& model, GraphKind kind, const TuneModelOptions& options,
                              const TuneTarget& target);

/// Those of the programs that train, eval and generate make of the model at these sizes, in the order of their first
/// launch. Kernels that run once for constant parameters are left out.
std::vector<KernelToTune> kernels_to_tune(const Model& model, const TuneModelOptions& options, const TuneTarget& target);

/// How far tuning has come.
struct TuneProgress {
  size_t done = 0, all = 0;
  double heuristic_seconds = 0, seconds = 0;  // of a run of all kernels, those that are not done as they are
  std::string at;                             // the kernel at which it is, or the program
};

struct TuneOptions {
  double budget = 600;  // seconds
  bool again = false;   // kernels that have a record for these sizes, too
  bool survey = false;  // nothing is kept: what the predictions of each kernel are worth
  std::function<bool()> stop;  // an interruption
  std::function<void(const TuneProgress&)> progress;
  std::function<void(const std::string&)> note;  // a line: a kernel that is done, a schedule that was rejected
};

/// What a survey found.
struct SurveyedKernel {
  double seconds = 0, predicted_seconds = 0;  // under the device's own schedule
  std::vector<TriedSchedule> tried;
  std::optional<PredictionQuality> quality;  // of these
};

struct TunedKernel {
  KernelToTune kernel;
  std::optional<TuningRecord> record;  // nothing: its turn did not come, or not for long enough
  bool had_record = false;             // a finished one from before
  bool given_up = false;               // it cannot be tried by itself, or not measured now
  double heuristic_error = 0;          // as TuningRecord::error
  std::vector<TriedSchedule> known;    // what was tried so far, before this run, too
  std::vector<TriedSchedule> finalists;  // the fastest ones by themselves, if they are not measured within programs yet
  size_t tried = 0, wrong = 0;
  std::optional<SurveyedKernel> surveyed;

  /// For want of time: the same command goes on with it.
  bool left() const { return !record || record->unfinished > 0; }
};

/// When so many of them are done.
TuneProgress progress_of(const std::vector<TunedKernel>& kernels, size_t done, const std::string& at);

/// Waits until no other tuner measures the device, and notes that once. False when options.stop ended it before.
bool wait_for_others(FileLock& lock, const TuneOptions& options);

/// Tunes kernels, those that take the longest in all first, each for its share of the time, and goes on with those
/// whose share was too short while there is time; after each its record is merged into the folder, so that an
/// interruption loses none. `model` may be null. Failures are those of TuningFolder and of the device; a kernel that
/// cannot be tried by itself is noted and left as it is.
std::vector<TunedKernel> tune_kernels(std::vector<KernelToTune> kernels, Device& device, CostModel* model,
                                      const TuningFolder& folder, const TuneOptions& options);

}  // namespace mambac::tools
