// Where a training run stands, and the text of training.json that keeps it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "runtime/curve.h"
#include "runtime/train_settings.h"

namespace mambac {

/// Everything but the arrays.
struct TrainingRecord {
  TrainSettings settings;
  int64_t step = 0;
  int64_t bytes = 0;         // seen so far
  double seconds = 0;        // of training so far
  double step_seconds = 0;   // of the latest step
  uint64_t rng_counter = 0;  // of the stream that draws windows
  double loss_sum = 0;       // nats per byte over the steps since the last point of the curve
  int64_t loss_steps = 0;
  std::optional<double> best_valid;  // bits per byte
  int64_t best_step = -1;            // whose checkpoint is kept
  std::vector<CurvePoint> curve;
};

/// JSON; numbers are written so that reading gives the same bits.
std::string training_record_text(const TrainingRecord& record);

/// Reads training.json in a checkpoint's folder. InputError when it is missing or damaged.
TrainingRecord read_training_record(const std::filesystem::path& checkpoint);

}  // namespace mambac
