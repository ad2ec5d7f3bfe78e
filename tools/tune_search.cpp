#include "tools/tune_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <span>

#include "codegen/lower.h"
#include "tools/kernel_set.h"

namespace mambac::tools {
namespace {

constexpr double kTie = 0.02;
constexpr int kRoundsOfSurvey = 25, kMostRoundsOfSurvey = 151;
constexpr double kSecondsOfSurvey = 4;  // what takes little time is measured more often, since its times spread more
// What is amplified within a kernel (a rounding before an exponential, say) may exceed the tolerance under every
// schedule alike: others may have twice the error of the device's own then, and that so many times the tolerance.
constexpr double kMostOwnError = 8;
constexpr size_t kMostPredicted = 64;       // a prediction takes about as long as a compilation
constexpr int64_t kMostStatements = 12000;  // written out: a compiler takes seconds for so many

class Search {
 public:
  Search(KernelTask& task, CostModel* model, const SearchOptions& options)
      : task_(task), model_(model), options_(options), layouts_(task.graph()) {
    result_.heuristic = result_.best = task.device().schedule(task.graph(), 0);
    const loop::Kernel own = lowered(result_.heuristic);
    in_place_ = in_place(own);
    most_statements_ = std::max(kMostStatements, 2 * statements_written_out(own));
    seen_.insert(code_of(own));
    for (const TriedSchedule& known : options.known)
      if (!new_code(known.schedule).empty()) remember(known);
  }

  SearchResult run() {
    heuristic_ = std::make_unique<KernelTrial>(task_, result_.heuristic);
    const double error = heuristic_->error();
    if (!(error <= kMostOwnError))
      throw InputError(
          fmt::format("the device's own schedule gives results that differ from the reference by {:.3g} "
                      "times what is tolerated ('mambac compare' looks into that), so that it is left as "
                      "it is",
                      error));
    result_.error = result_.heuristic_error = error;
    tolerated_ = std::max(1.0, 2 * error);
    const size_t known = std::min(options_.first, result_.tried.size());
    try_some(coarse_schedules(task_.graph(), 0, result_.heuristic, kind()), options_.first - known);
    if (options_.survey) return survey();
    for (int move = 0; move < options_.most_moves; ++move) {
      const Schedule before = result_.best;
      try_some(neighbours(task_.graph(), 0, result_.heuristic, before, kind()), options_.around);
      if (result_.best == before) break;
    }
    settle();
    return std::move(result_);
  }

 private:
  DeviceKind kind() const { return task_.device().kind(); }
  bool time_is_over() const { return options_.stop && options_.stop(); }
  /// Not before something was tried: searches that are cut short again and again come to an end, too.
  bool is_cut_short() {
    if (!tried_one_ || !time_is_over()) return false;
    result_.complete = false;
    return true;
  }
  loop::Kernel lowered(const Schedule& schedule) const {
    loop::Kernel library;
    library.schedule = schedule;
    if (task_.graph().kernels[0].kind == KernelGroup::library) return library;
    return lower(task_.graph(), layouts_, 0, schedule, kind()).kernel;
  }
  /// Schedules that give the same code are one. What is not in the loops but in what is made of them counts, too.
  static std::string code_of(const loop::Kernel& kernel) {
    const Schedule& s = kernel.schedule;
    return kernel_text(kernel.name, loop::print(kernel)).content +
           fmt::format(" {} {} {} {} {} {} {}", s.algorithm, s.interleave, s.tiles_ahead, s.copies_ahead,
                       s.blocks_per_sm, s.exp_on_fma, s.begins_early);
  }
  /// Callers rely on what may be computed in the place of an input.
  static std::vector<std::vector<int>> in_place(const loop::Kernel& kernel) {
    std::vector<std::vector<int>> places;
    for (const loop::Buffer& buffer : kernel.buffers)
      if (buffer.written) places.push_back(buffer.in_place_of);
    return places;
  }

  void remember(const TriedSchedule& tried) {
    seen_.insert(code_of(lowered(tried.schedule)));
    result_.tried.push_back(tried);
    if (tried.wrong.empty() && tried.ratio > 0 && tried.ratio < best_ratio_ * (1 - kTie)) {
      best_ratio_ = tried.ratio;
      result_.best = tried.schedule;
    }
  }

  /// What a schedule gives; empty where that is seen already, or not to be tried.
  std::string new_code(const Schedule& schedule) const {
    if (!can_be_tried(task_, schedule)) return "";
    const loop::Kernel kernel = lowered(schedule);
    if (statements_written_out(kernel) > most_statements_) return "";
    if (options_.in_place && in_place(kernel) != in_place_) return "";
    const std::string code = code_of(kernel);
    return seen_.contains(code) ? "" : code;
  }

  std::vector<TriedSchedule> fresh(const std::vector<Schedule>& schedules) {
    std::vector<TriedSchedule> fresh;
    std::set<std::string> codes{""};
    for (const Schedule& schedule : schedules)
      if (codes.insert(new_code(schedule)).second) fresh.emplace_back().schedule = schedule;
    return fresh;
  }

  /// So many that lie regularly among them.
  static std::vector<TriedSchedule> regular(std::vector<TriedSchedule> all, size_t most) {
    if (all.size() <= most) return all;
    std::vector<TriedSchedule> regular;
    for (size_t i = 0; i < most; ++i) regular.push_back(all[i * all.size() / most]);
    return regular;
  }

  void predict(std::span<TriedSchedule> some) {
    if (model_ == nullptr || some.empty()) return;
    std::vector<Schedule> schedules;
    for (const TriedSchedule& one : some) schedules.push_back(one.schedule);
    const std::vector<Prediction> predictions = model_->predict(task_.graph(), 0, schedules, task_.sizes());
    for (size_t i = 0; i < some.size(); ++i) some[i].predicted = predictions[i].seconds;
  }

  /// Leaves those that there was time for: what is compiled for long must leave some for measurements.
  void predict_in_time(std::vector<TriedSchedule>& all) {
    constexpr size_t kAtOnce = 8;
    std::ranges::shuffle(all, std::minstd_rand());  // always the same order, in which any beginning is from everywhere
    const double begun = now();
    size_t done = 0;
    while (done < all.size() && (done == 0 || now() - begun < options_.predict_seconds)) {
      const size_t some = std::min(kAtOnce, all.size() - done);
      predict(std::span(all).subspan(done, some));
      done += some;
    }
    all.resize(done);
  }

  /// The most promising ones first, so many of them.
  std::vector<TriedSchedule> promising(std::vector<TriedSchedule> all, size_t most) {
    const bool choose = model_ != nullptr && !options_.survey;
    all = regular(std::move(all), choose ? kMostPredicted : most);
    if (!choose) {
      predict(all);
      return all;
    }
    predict_in_time(all);
    std::ranges::stable_sort(all, {}, &TriedSchedule::predicted);
    all.resize(std::min(all.size(), most));
    return all;
  }

  SearchResult survey() {
    std::vector<TriedSchedule> own(1);
    own[0].schedule = result_.heuristic;
    own[0].ratio = 1;
    predict(own);
    result_.tried.push_back(own[0]);
    if (result_.heuristic_seconds == 0)  // it is the only one
      result_.heuristic_seconds = race({[this] { return heuristic_->seconds(); }}, {.most_rounds = 9, .stop = {}}).seconds[0];
    result_.predicted = own[0].predicted;
    return std::move(result_);
  }

  double own_seconds() {
    const double seconds = heuristic_->seconds();
    least_seconds_ = std::min(least_seconds_, seconds);
    return seconds;
  }

  void try_some(const std::vector<Schedule>& schedules, size_t most) {
    std::vector<TriedSchedule> chosen = fresh(schedules);
    if (chosen.empty() || most == 0 || is_cut_short()) return;
    chosen = promising(std::move(chosen), most);
    if (time_is_over()) chosen.resize(1);
    std::vector<Schedule> ahead;
    for (const TriedSchedule& one : chosen) ahead.push_back(one.schedule);
    compile_ahead(task_, ahead);
    std::vector<std::unique_ptr<KernelTrial>> trials{};
    std::vector<std::function<double()>> contenders{[this] { return own_seconds(); }};
    std::vector<size_t> timed;  // of `chosen`
    for (size_t i = 0; i < chosen.size() && !is_cut_short(); ++i) {
      tried_one_ = true;
      auto trial = check(chosen[i]);
      if (!trial) continue;
      timed.push_back(i);
      trials.push_back(std::move(trial));
      contenders.push_back([trial = trials.back().get()] { return trial->seconds(); });
    }
    RaceOptions options{.most_rounds = 9, .tie = kTie, .stop = [this] { return is_cut_short(); }};
    if (options_.survey) options.least_rounds = options.most_rounds = rounds_of_survey(contenders.size());
    const RaceResult times = race(contenders, options);
    result_.heuristic_seconds = times.seconds[0];
    for (size_t i = 0; i < timed.size(); ++i) {
      const Interval& ratio = times.ratios[i + 1];
      chosen[timed[i]].ratio = ratio.median;
      chosen[timed[i]].spread = (ratio.high - ratio.low) / 2 / ratio.median;
    }
    for (const TriedSchedule& one : chosen) {
      if (one.wrong.empty() && one.ratio == 0) continue;  // the search was stopped before
      remember(one);
      if (options_.tried) options_.tried(one);
    }
  }

  /// Of all contenders, the slow ones, too.
  int rounds_of_survey(size_t contenders) {
    const double round = heuristic_->seconds() * static_cast<double>(contenders);
    return static_cast<int>(std::clamp<double>(kSecondsOfSurvey / round, kRoundsOfSurvey, kMostRoundsOfSurvey));
  }

  /// A trial whose results are right; null, and the reason, of another.
  std::unique_ptr<KernelTrial> check(TriedSchedule& one) {
    auto trial = std::make_unique<KernelTrial>(task_, one.schedule);
    one.error = trial->error();
    if (one.error <= tolerated_) return trial;
    one.wrong = fmt::format("its results differ by {:.3g} times what is tolerated", one.error);
    return nullptr;
  }

  /// The best against the device's own once more, with more rounds: what looked best of many was lucky, too.
  void settle() {
    constexpr int kLeast = 9, kMost = 31;
    KernelTrial best(task_, result_.best);
    const RaceResult times = race({[this] { return own_seconds(); }, [&] { return best.seconds(); }},
                                  {.least_rounds = kLeast, .most_rounds = kMost, .tie = kTie, .stop = {}});
    const Interval& ratio = times.ratios[1];
    result_.heuristic_seconds = times.seconds[0];
    result_.told_apart = can_be_told_apart(times.seconds[0], least_seconds_);
    result_.seconds = times.seconds[0] * ratio.median;
    result_.spread = (ratio.high - ratio.low) / 2 / ratio.median;
    if (result_.best == result_.heuristic || ratio.high > 1 || ratio.median > 0.99) {
      result_.best = result_.heuristic;
      result_.seconds = result_.heuristic_seconds;
    }
    for (const TriedSchedule& one : result_.tried)
      if (one.schedule == result_.best) result_.error = one.error;
    if (model_ != nullptr)
      result_.predicted = model_->predict(task_.graph(), 0, {result_.best}, task_.sizes()).front().seconds;
  }

  KernelTask& task_;
  CostModel* model_;
  const SearchOptions& options_;
  const Layouts layouts_;
  SearchResult result_;
  std::unique_ptr<KernelTrial> heuristic_;
  std::vector<std::vector<int>> in_place_;
  int64_t most_statements_ = 0;
  double best_ratio_ = 1, tolerated_ = 1, least_seconds_ = HUGE_VAL;
  bool tried_one_ = false;
  std::set<std::string> seen_;  // codes
};

}  // namespace

bool can_be_tried(const KernelTask& task, const Schedule& schedule) {
  if (schedule.algorithm > 0 && schedule.algorithm >= task.algorithms()) return false;
  return why_illegal(task.graph(), 0, schedule, task.device().kind()).empty();
}

bool can_be_told_apart(double median_seconds, double least_seconds) {
  constexpr double kMost = 3;
  return median_seconds <= kMost * least_seconds;
}

std::vector<TriedSchedule> finalists(const SearchResult& found) {
  constexpr size_t kMost = 3;
  std::vector<TriedSchedule> all;
  for (const TriedSchedule& one : found.tried)
    if (one.wrong.empty() && one.ratio > 0 && one.ratio < 1 && one.schedule != found.heuristic) all.push_back(one);
  std::ranges::stable_sort(all, {}, [&](const TriedSchedule& one) {
    return one.schedule == found.best ? 0 : one.ratio;
  });
  all.resize(std::min(all.size(), kMost));
  return all;
}

SearchResult search_schedules(KernelTask& task, CostModel* model, const SearchOptions& options) {
  return Search(task, model, options).run();
}

}  // namespace mambac::tools
