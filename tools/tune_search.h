// The search for a kernel's best schedule: first over the coarse axes, then around the best.
#pragma once

#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "codegen/schedule_space.h"
#include "tools/cost_model.h"
#include "tools/tune_times.h"
#include "tools/tune_trial.h"

namespace mambac::tools {

/// A schedule that was tried.
struct TriedSchedule {
  Schedule schedule;
  double ratio = 0;      // of its time to that of the device's own schedule, measured by turns; 0: it was not timed
  double spread = 0;     // half of the ratio's 95% interval, relative to it
  double predicted = 0;  // seconds, by the cost model; 0: there is none
  double error = 0;      // of its results in units of what is tolerated
  std::string wrong;     // why it was rejected; empty: it was not
};

struct SearchOptions {
  size_t first = 12;              // schedules of the coarse space that are timed: those of the best predictions, fewer
                                  // by those that are known
  size_t around = 8;              // neighbours of the best that are timed at a time
  int most_moves = 4;             // from one best to the next
  double predict_seconds = HUGE_VAL;  // that predictions before each of these measurements may take
  bool survey = false;            // only so many of the coarse space as `first` says, which lie regularly in it
  bool in_place = false;          // only schedules under which outputs may have the place of inputs as under the device's
  std::vector<TriedSchedule> known;  // from searches before: not tried again; what is illegal is passed over
  std::function<bool()> stop;        // asked now and then: the search ends with the best so far, once it tried one more
  std::function<void(const TriedSchedule&)> tried;  // told of each
};

struct SearchResult {
  Schedule heuristic, best;
  double heuristic_seconds = 0, seconds = 0;  // medians of the last measurement, by turns
  double spread = 0;                          // of the ratio of the two
  double error = 0, predicted = 0;            // of the best
  double heuristic_error = 0;
  std::vector<TriedSchedule> tried;
  bool complete = true;                       // it was not stopped
  bool told_apart = true;                     // the heuristic's times do not vary so much that others mean nothing
};

/// Whether a schedule that others wrote down can be lowered and compiled for the task's kernel.
bool can_be_tried(const KernelTask& task, const Schedule& schedule);

/// Whether times of one schedule whose median and least these are vary so little that others can be held against them.
bool can_be_told_apart(double median_seconds, double least_seconds);

/// The best and the next ones that seemed faster than the device's own schedule, three at most: what is faster by itself
/// need not be faster within a program.
std::vector<TriedSchedule> finalists(const SearchResult& found);

/// Searches the schedules of the task's kernel. `model`, which may be null, says which of many are tried; without it
/// they are those that lie regularly in the space. A schedule whose results are wrong is never timed. The best is the
/// device's own unless another one is faster beyond doubt and by more than a hundredth. InputError when the device's own
/// schedule gives wrong results.
SearchResult search_schedules(KernelTask& task, CostModel* model, const SearchOptions& options);

}  // namespace mambac::tools
