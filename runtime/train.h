// The training loop, over executables that the caller has made.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runtime/byte_source.h"
#include "runtime/checkpoint.h"
#include "runtime/executable.h"
#include "runtime/memory_use.h"
#include "runtime/parameters.h"
#include "runtime/progress.h"

namespace mambac {

/// What training runs, all on one device. P is ParameterLayout::size() where nothing else is said; all scalars are
/// f32[].
struct TrainingGraphs {
  /// "bytes" and perhaps "targets" u8[B, L], and every parameter by its name -> "loss" f32[], mean nats per byte, and
  /// "grad.<name>" for every parameter.
  Executable& gradients;
  /// "grad" f32[P] -> "sum" f32[], the sum of squares.
  Executable& norm;
  /// AdamW: "param", "grad", "m", "v" f32[P]; "lr", "weight_decay", "beta1", "beta2", "eps", "step" (1 for the first),
  /// "scale" (multiplies the gradient) -> "param.next", "m.next", "v.next" f32[P], which are bound to the memory of
  /// "param", "m" and "v". One for the parameters with weight decay, P = ParameterLayout::decayed(), and one for the
  /// others, P = size() - decayed(); null where that is 0.
  Executable* update_decayed = nullptr;
  Executable* update_others = nullptr;
  /// "x", "y" f32[P] -> "sum" f32[P], bound to the memory of "x". Needed when gradients are accumulated.
  Executable* add = nullptr;
  /// "bytes", "targets", parameters as in `gradients`, perhaps with another B -> "loss". Needed with held-out data.
  Executable* valid = nullptr;
};

struct TrainingJob {
  TrainSettings settings;
  const ParameterLayout& layout;
  TrainingGraphs graphs;
  ByteSource& data;
  ByteSource* valid = nullptr;               // held-out data
  std::filesystem::path folder{};            // checkpoints, curve.svg and curve.csv
  bool resume = false;                       // go on from the folder's latest checkpoint, when it has one
  const SafetensorsFile* start = nullptr;    // initial parameters; by their initialisers when null
  CheckpointTexts texts{};                   // written into every checkpoint
  std::vector<CurveReference> references{};  // drawn into the curve
  std::string title = "training";            // of the curve
  std::string resume_command{};              // named when the run is interrupted
  Progress* progress = nullptr;
  /// Asked when a loss or gradient is not finite: where in this graph, bound to the batch with which it happened, the
  /// first value that is not finite is made. The text goes into the message; "": all was finite. Null: nobody asks.
  std::function<std::string(Executable& graph)> find_not_finite{};
};

struct TrainingResult {
  int64_t step = 0;
  int64_t bytes = 0;
  double seconds = 0;
  double train_bits_per_byte = 0;             // mean of the last points of the curve
  std::optional<double> valid_bits_per_byte;  // at the end; nothing when interrupted or without held-out data
  std::optional<double> best_valid;
  int signal = 0;  // that interrupted the run; 0 when it ended by itself
  std::filesystem::path checkpoint;
  size_t planned_bytes = 0;  // of all executables, parameters, gradients and moments
  MemoryUse memory;
};

/// Trains until the settings' end or the first SIGINT or SIGTERM; then the step under way is finished and a checkpoint
/// written. With settings.steps the result depends on settings, data and initial values only, however often the run
/// was killed and resumed.
///
/// InputError: settings, data shorter than the context, a loss or gradient that is not finite (the last checkpoint
/// stays; with find_not_finite, one of the step before is written), a folder that has a run already when not resuming.
/// EnvironmentError: a checkpoint cannot be written.
TrainingResult train(const TrainingJob& job);

}  // namespace mambac
