#include "runtime/train_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ir/error.h"

namespace mambac {

void check_settings(const TrainSettings& settings) {
  if ((settings.steps > 0) == (settings.minutes > 0) || settings.steps < 0 || settings.minutes < 0)
    throw InputError(
        fmt::format("the length of training: found {} steps and {} minutes, expected one of them to be positive",
                    settings.steps, settings.minutes));
  const auto within = [](const char* name, double value, double least, double most) {
    if (!(value >= least && value <= most))
      throw InputError(fmt::format("training setting {}: found {}, expected {} to {}", name, value, least, most));
  };
  within("learning_rate", settings.learning_rate, 0, 100);
  within("warmup", settings.warmup, 0, 1);
  within("final_fraction", settings.final_fraction, 0, 1);
  within("beta1", settings.beta1, 0, 0.999999);
  within("beta2", settings.beta2, 0, 0.9999999);
  within("epsilon", settings.epsilon, 0, 1);
  within("weight_decay", settings.weight_decay, 0, 100);
  within("clip", settings.clip, 0, 1e9);
  within("accumulate", static_cast<double>(settings.accumulate), 1, 1e6);
  within("evaluations", static_cast<double>(settings.evaluations), 1, 1e6);
  within("valid_windows", static_cast<double>(settings.valid_windows), 1, 1e9);
  within("checkpoint_minutes", settings.checkpoint_minutes, 0, 1e9);
}

double learning_rate_at(const TrainSettings& settings, double fraction) {
  fraction = std::clamp(fraction, 0.0, 1.0);
  if (fraction < settings.warmup) return settings.learning_rate * fraction / settings.warmup;
  const double along = settings.warmup < 1 ? (fraction - settings.warmup) / (1 - settings.warmup) : 1;
  const double low = settings.learning_rate * settings.final_fraction;
  return low + (settings.learning_rate - low) * 0.5 * (1 + std::cos(std::numbers::pi * along));
}

}  // namespace mambac
