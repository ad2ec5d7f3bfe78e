#include "runtime/sampling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ir/error.h"

namespace mambac {

void check_options(const SamplingOptions& options) {
  if (!(options.temperature >= 0 && std::isfinite(options.temperature)))
    throw InputError(fmt::format("the temperature: found {}, expected 0 or more", options.temperature));
  if (options.top_k < 0) throw InputError(fmt::format("top-k: found {}, expected 0 (all) or more", options.top_k));
  if (!(options.top_p > 0 && options.top_p <= 1))
    throw InputError(fmt::format("top-p: found {}, expected more than 0 and at most 1", options.top_p));
}

int64_t Sampler::draw(std::span<const float> logits, Rng& rng) {
  for (size_t i = 0; i < logits.size(); ++i)
    if (std::isnan(logits[i])) throw InputError(fmt::format("the model's logit {} is not a number", i));
  const int64_t best = std::ranges::max_element(logits) - logits.begin();
  const double largest = static_cast<double>(logits[static_cast<size_t>(best)]);
  if (!std::isfinite(largest)) throw InputError(fmt::format("the model's largest logit is {}", largest));
  if (options_.top_k == 1 || options_.temperature == 0) return best;

  const auto likelier = [&](int64_t a, int64_t b) {
    const float first = logits[static_cast<size_t>(a)], second = logits[static_cast<size_t>(b)];
    return first > second || (first == second && a < b);
  };
  order_.resize(logits.size());
  std::iota(order_.begin(), order_.end(), 0);
  std::ranges::sort(order_, likelier);
  if (options_.top_k > 0 && options_.top_k < static_cast<int64_t>(order_.size()))
    order_.resize(static_cast<size_t>(options_.top_k));

  weights_.clear();
  for (const int64_t index : order_)
    weights_.push_back(
        std::exp((static_cast<double>(logits[static_cast<size_t>(index)]) - largest) / options_.temperature));
  double total = std::accumulate(weights_.begin(), weights_.end(), 0.0);
  if (options_.top_p < 1) {
    const double drop_at_most = (1 - options_.top_p) * total;
    double dropped = 0;
    while (weights_.size() > 1 && dropped + weights_.back() <= drop_at_most) {
      dropped += weights_.back();
      weights_.pop_back();
    }
    total = std::accumulate(weights_.begin(), weights_.end(), 0.0);
  }
  double left = rng.uniform() * total;
  size_t chosen = 0;
  while (chosen + 1 < weights_.size() && left >= weights_[chosen]) left -= weights_[chosen++];
  return order_[chosen];
}

}  // namespace mambac
