// One optimiser step: gradients of one or more batches, clipping by their global norm, AdamW.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/train.h"

namespace mambac {

/// Owns parameters, gradients and moments, and binds the executables to them.
class Optimiser {
 public:
  Optimiser(const TrainSettings& settings, const ParameterLayout& layout, const TrainingGraphs& graphs);
  Optimiser(const Optimiser&) = delete;
  Optimiser& operator=(const Optimiser&) = delete;

  float* values() const { return values_.floats(); }
  float* first_moment() const { return first_.floats(); }
  float* second_moment() const { return second_.floats(); }
  int64_t batch() const { return batch_; }
  int64_t length() const { return length_; }

  /// Reads `accumulate` batches, drawn from `data` by `rng`, and changes the parameters. `step` counts from 1.
  /// Returns the mean loss in nats per byte; InputError when it or the gradient's norm is not finite (the parameters
  /// are then as before).
  double run(const ByteSource& data, Rng& rng, int64_t step, double learning_rate);

  /// Bytes of everything that lives as long as training: arrays, batches and the executables' own plans.
  size_t planned_bytes() const;

 private:
  void bind();
  /// The update of `count` parameters from the place `first` on.
  void bind_update(Executable* update, int64_t first, int64_t count, float& weight_decay);
  double gradients(const ByteSource& data, Rng& rng);

  const TrainSettings& settings_;
  TrainingGraphs graphs_;
  int64_t batch_, length_;
  size_t floats_;
  ZeroedMemory values_, gradients_, fresh_, first_, second_;  // fresh_: of one batch, when several are summed
  std::vector<uint8_t> windows_, bytes_, targets_;
  struct {
    float learning_rate, weight_decay, no_decay, beta1, beta2, epsilon, step, scale;
  } scalars_{};
  float loss_ = 0, sum_of_squares_ = 0;
};

}  // namespace mambac
