// What predictions are worth: held against the times of schedules that were measured.
#pragma once

#include <optional>
#include <vector>

#include "tools/tune_search.h"

namespace mambac::tools {

/// Spearman's rank correlation of two lists of equal length; 0 of fewer than three pairs.
double rank_correlation(const std::vector<double>& a, const std::vector<double>& b);

struct PredictionQuality {
  size_t count = 0;                 // schedules that were measured and predicted
  double fastest = 0, slowest = 0;  // their times, of that of the device's own schedule
  double rank_correlation = 0;
  double told_apart = 0;    // share of the pairs of schedules whose times differ by more than their 95% intervals
  std::optional<double> ordered;  // share of these that the predictions order rightly, an equal prediction counting as
                                  // half; nothing when there are none
  double best_of_five = 0;  // the least time of the five that are predicted to be the fastest, of the least of all
};

/// Nothing for fewer than three.
std::optional<PredictionQuality> prediction_quality(const std::vector<TriedSchedule>& tried);

}  // namespace mambac::tools
