#include "tools/tune_quality.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mambac::tools {
namespace {

std::vector<double> ranks_of(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return values[i]; });
  std::vector<double> ranks(values.size());
  for (size_t i = 0; i < order.size();) {
    size_t end = i + 1;
    while (end < order.size() && values[order[end]] == values[order[i]]) ++end;
    for (size_t k = i; k < end; ++k) ranks[order[k]] = static_cast<double>(i + end - 1) / 2;  // equal ones share it
    i = end;
  }
  return ranks;
}

/// Times that are nearer to each other than they are known have no order that could be foretold.
void compare_pairs(const std::vector<TriedSchedule>& measured, PredictionQuality& quality) {
  double pairs = 0, apart = 0, right = 0;
  for (const TriedSchedule& a : measured)
    for (const TriedSchedule& b : measured) {
      if (&a >= &b) continue;
      pairs += 1;
      const double difference = b.ratio - a.ratio;
      if (std::abs(difference) <= a.spread * a.ratio + b.spread * b.ratio) continue;
      apart += 1;
      right += a.predicted == b.predicted ? 0.5 : (a.predicted < b.predicted) == (difference > 0) ? 1 : 0;
    }
  quality.told_apart = apart / pairs;
  if (apart > 0) quality.ordered = right / apart;
}

}  // namespace

double rank_correlation(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() < 3) return 0;
  const std::vector<double> ra = ranks_of(a), rb = ranks_of(b);
  const double mean = static_cast<double>(a.size() - 1) / 2;
  double both = 0, of_a = 0, of_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    both += (ra[i] - mean) * (rb[i] - mean);
    of_a += (ra[i] - mean) * (ra[i] - mean);
    of_b += (rb[i] - mean) * (rb[i] - mean);
  }
  return of_a > 0 && of_b > 0 ? both / std::sqrt(of_a * of_b) : 0;
}

std::optional<PredictionQuality> prediction_quality(const std::vector<TriedSchedule>& tried) {
  constexpr size_t kFew = 5;
  std::vector<TriedSchedule> measured;
  for (const TriedSchedule& one : tried)
    if (one.wrong.empty() && one.ratio > 0 && one.predicted > 0) measured.push_back(one);
  if (measured.size() < 3) return {};
  std::ranges::stable_sort(measured, {}, &TriedSchedule::predicted);
  std::vector<double> times, predictions;
  for (const TriedSchedule& one : measured) {
    times.push_back(one.ratio);
    predictions.push_back(one.predicted);
  }
  const auto few = times.begin() + static_cast<std::ptrdiff_t>(std::min(kFew, times.size()));
  const double fastest = *std::ranges::min_element(times);
  PredictionQuality quality;
  quality.count = times.size();
  quality.fastest = fastest;
  quality.slowest = *std::ranges::max_element(times);
  quality.rank_correlation = rank_correlation(predictions, times);
  compare_pairs(measured, quality);
  quality.best_of_five = *std::min_element(times.begin(), few) / fastest;
  return quality;
}

}  // namespace mambac::tools
