// What a training run is told, and the learning rate that follows from it.
#pragma once

#include <cstdint>

namespace mambac {

struct TrainSettings {
  // How long: exactly one of the two is positive. The schedule fits itself to it.
  int64_t steps = 0;   // optimiser steps
  double minutes = 0;  // of training time; earlier runs that this one goes on from are counted

  // AdamW (Loshchilov & Hutter 2019), with MambaByte's betas.
  double learning_rate = 2e-3;  // the peak
  double warmup = 0.03;         // fraction of the run over which the rate rises linearly
  double final_fraction = 0.1;  // of the peak, where the cosine ends
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
  double clip = 1.0;       // most that the global norm of the gradient may be; 0: no limit
  int64_t accumulate = 1;  // batches whose gradients make one step

  uint64_t seed = 0;  // of initial values and of the order of data

  int64_t evaluations = 20;        // times that held-out data is measured and a checkpoint written, evenly over the run
  int64_t valid_windows = 64;      // windows of held-out data, evenly spread over it, each time the same ones
  double checkpoint_minutes = 10;  // the same also after so long without one

  bool operator==(const TrainSettings&) const = default;
};

/// InputError naming the setting that makes no sense.
void check_settings(const TrainSettings& settings);

/// Linear from 0 to the peak over the warm-up, then half a cosine down to final_fraction of the peak.
/// `fraction` of the run done, 0 to 1.
double learning_rate_at(const TrainSettings& settings, double fraction);

}  // namespace mambac
