// Times of several ways to do the same, measured by turns until they can be told apart.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace mambac::tools {

/// Seconds on a clock that only goes forward.
double now();
/// Milliseconds of four significant digits.
std::string milliseconds(double seconds);

/// An estimate from a few measurements: the median, and an interval that holds the true median in 95 of 100 cases (order
/// statistics: Conover, Practical Nonparametric Statistics, section 3.2). With fewer than 6 values it is their range.
struct Interval {
  double median = 0, low = 0, high = 0;
};
/// Of one value or more.
Interval interval_of(std::vector<double> values);

struct RaceOptions {
  int least_rounds = 5, most_rounds = 15;
  double tie = 0.03;  // what is nearer to each other than this share need not be told apart
  std::function<bool()> stop;  // asked between rounds, once there is one; may be empty
};

/// What was measured of each contender.
struct RaceResult {
  std::vector<double> seconds;    // its median
  std::vector<Interval> ratios;   // of its time to that of contender 0 in the same round
  size_t best = 0;                // of the smallest ratio; within a tie the first one
};

/// In each round each contender is measured once, all within a short time, so that what slows the machine down slows all
/// of them. A contender whose interval lies above another one's by the tie drops out; when one is left, or all that are
/// left are a tie, the race is over. Contender 0 stays to the end: the others are compared with it.
RaceResult race(const std::vector<std::function<double()>>& contenders, const RaceOptions& options);

}  // namespace mambac::tools
