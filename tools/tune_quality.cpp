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
  return PredictionQuality{times.size(), fastest, *std::ranges::max_element(times),
                           rank_correlation(predictions, times), *std::min_element(times.begin(), few) / fastest};
}

}  // namespace mambac::tools
