#include "tools/tune_times.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "ir/error.h"

namespace mambac::tools {
namespace {

double median_of(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

class Race {
 public:
  Race(const std::vector<std::function<double()>>& contenders, const RaceOptions& options)
      : contenders_(contenders),
        options_(options),
        running_(contenders.size(), true),
        seconds_(contenders.size()),
        ratios_(contenders.size()) {
    check(!contenders.empty(), "race: there must be a contender");
  }

  RaceResult run() {
    for (int round = 1; round <= options_.most_rounds; ++round) {
      measure();
      if (round >= options_.least_rounds && is_decided()) break;
      if (options_.stop && options_.stop()) break;
    }
    return result();
  }

 private:
  void measure() {
    double first = 0;
    for (size_t i = 0; i < contenders_.size(); ++i) {
      if (!running_[i]) continue;
      const double seconds = contenders_[i]();
      if (i == 0) first = seconds;
      seconds_[i].push_back(seconds);
      ratios_[i].push_back(seconds / first);
    }
  }

  bool is_decided() {
    std::vector<Interval> intervals;
    double lowest = HUGE_VAL;
    for (size_t i = 0; i < contenders_.size(); ++i) {
      intervals.push_back(interval_of(ratios_[i]));
      if (running_[i]) lowest = std::min(lowest, intervals[i].high);
    }
    bool decided = true;
    for (size_t i = 0; i < contenders_.size(); ++i) {
      if (i > 0 && intervals[i].low > lowest) running_[i] = false;
      if (running_[i] && i > 0) decided = decided && intervals[i].high < lowest * (1 + options_.tie);
    }
    // The first one is decided when it is surely worse than the best, or surely not worse by more than a tie.
    return decided && (intervals[0].low > lowest || intervals[0].high < lowest * (1 + options_.tie));
  }

  RaceResult result() const {
    RaceResult result;
    for (size_t i = 0; i < contenders_.size(); ++i) {
      result.seconds.push_back(median_of(seconds_[i]));
      result.ratios.push_back(interval_of(ratios_[i]));
    }
    double smallest = HUGE_VAL;
    for (const Interval& ratio : result.ratios) smallest = std::min(smallest, ratio.median);
    const auto is_best = [&](const Interval& ratio) { return ratio.median <= smallest * (1 + options_.tie); };
    result.best = static_cast<size_t>(std::ranges::find_if(result.ratios, is_best) - result.ratios.begin());
    return result;
  }

  const std::vector<std::function<double()>>& contenders_;
  const RaceOptions& options_;
  std::vector<bool> running_;
  std::vector<std::vector<double>> seconds_, ratios_;
};

}  // namespace

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string milliseconds(double seconds) {
  const double number = 1e3 * seconds;
  return number < 1e4 ? fmt::format("{:.4g}", number) : fmt::format("{:.0f}", number);
}

Interval interval_of(std::vector<double> values) {
  std::ranges::sort(values);
  const auto n = static_cast<double>(values.size());
  const double half = 0.98 * std::sqrt(n);  // 1.96 standard deviations of a binomial number with p = 1/2
  const auto low = static_cast<size_t>(std::max(0.0, std::floor(n / 2 - half)));
  const auto high = static_cast<size_t>(std::min(n - 1, std::ceil(n / 2 + half)));
  return {median_of(values), values[low], values[high]};
}

RaceResult race(const std::vector<std::function<double()>>& contenders, const RaceOptions& options) {
  return Race(contenders, options).run();
}

}  // namespace mambac::tools
