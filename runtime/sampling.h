// Drawing the next byte from a model's logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/rng.h"

namespace mambac {

/// The order is that of mamba_ssm: the top_k largest logits are kept, then divided by the temperature, then the least
/// likely ones whose probabilities sum to at most 1 - top_p are dropped.
struct SamplingOptions {
  double temperature = 1;  // 0: always the likeliest
  int64_t top_k = 0;       // 0: all; 1: always the likeliest
  double top_p = 1;        // in (0, 1]
};

/// InputError naming the option that is out of range.
void check_options(const SamplingOptions& options);

class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options) { check_options(options); }

  /// The index drawn; among equal logits the lower index counts as larger. Takes one number from `rng`, or none where
  /// the likeliest is taken. InputError when a logit is NaN or the largest is not finite.
  int64_t draw(std::span<const float> logits, Rng& rng);

 private:
  SamplingOptions options_;
  std::vector<int64_t> order_;
  std::vector<double> weights_;
};

}  // namespace mambac
