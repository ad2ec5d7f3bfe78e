// One optimiser step: gradients of one or more batches, clipping by their global norm, AdamW.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ir/error.h"
#include "runtime/held_out.h"
#include "runtime/train.h"

namespace mambac {

/// A loss or a gradient is not finite.
class Diverged : public InputError {
  using InputError::InputError;
};

/// Owns parameters, gradients and moments, in the memory of the executables' device, and binds these to them.
class Optimiser {
 public:
  Optimiser(const TrainSettings& settings, const ParameterLayout& layout, const TrainingGraphs& graphs);
  Optimiser(const Optimiser&) = delete;
  Optimiser& operator=(const Optimiser&) = delete;

  TrainingArrays arrays() const { return {values_, first_, second_}; }
  int64_t batch() const { return windows_.batch(); }
  int64_t length() const { return windows_.length(); }

  /// Reads `accumulate` batches, drawn from `data` by `rng`, and changes the parameters. `step` counts from 1.
  /// Returns the mean loss in nats per byte; Diverged when it or the gradient's norm is not finite (the parameters are
  /// then as before).
  double run(const ByteSource& data, Rng& rng, int64_t step, double learning_rate);

  /// Draws the batches of a step once more, `rng` being as it was before it, and asks about each until there is an
  /// answer: TrainingJob::find_not_finite.
  std::string find_not_finite(const ByteSource& data, Rng rng, const std::function<std::string(Executable&)>& find);

  /// Bytes of everything that lives as long as training: arrays, batches and the executables' own plans.
  size_t planned_bytes() const;

 private:
  /// What the updates read besides arrays.
  struct Scalars {
    float learning_rate, weight_decay, no_decay, beta1, beta2, epsilon, step, scale;
  };
  struct Results {
    float loss, sum_of_squares;
  };

  void bind_gradients(const ParameterLayout& layout);
  void bind_norm();
  /// The update of `count` parameters from the place `first` on.
  void bind_update(Executable* update, int64_t first, int64_t count, float Scalars::*weight_decay);
  void draw(const ByteSource& data, Rng& rng);
  double gradients(const ByteSource& data, Rng& rng);

  const TrainSettings& settings_;
  TrainingGraphs graphs_;
  Device& device_;
  WindowBatch windows_;
  std::vector<uint8_t> drawn_;
  DeviceArray<float> values_, gradients_, fresh_, first_, second_;  // fresh_: of one batch, when several are summed
  MirroredArray<Scalars> scalars_;                                  // of one
  MirroredArray<Results> results_;                                  // of one
};

}  // namespace mambac
