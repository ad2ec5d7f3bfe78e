#include "tools/warp_timing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace mambac::tools {
namespace {

constexpr int kScoreboards = 6;

// Clocks, as in step_clocks.cpp.
constexpr double kBarrier = 25;
constexpr double kOperandsRead = 22;  // by an instruction that takes a scoreboard for them
constexpr double kQueue = 64;         // how far accesses may queue before their warp waits
constexpr double kBlockStart = 1000;  // until a block's first instruction issues; from convolutions of 16,384 blocks

/// Of a loop so many iterations are run; all others take as long as the last half of these.
constexpr int kRounds = 6;

class Scheduler {
 public:
  Scheduler(const Gpu& gpu, const WarpProgram& program, const WarpLoad& load)
      : steps_(program.steps), loops_(program.loops), load_(load), ends_(steps_.size() + 1) {
    loops_.push_back({0, steps_.size(), load.blocks});
    for (size_t l = 0; l < loops_.size(); ++l) ends_[loops_[l].end].push_back(l);
    for (const WarpStep& step : steps_) clocks_.push_back(step_clocks(gpu, step, load));
    for (int w = 0; w < load.warps; ++w) warps_.push_back({.rounds = std::vector<Round>(loops_.size())});
  }

  double run() {
    while (Warp* warp = next()) issue(*warp);
    double last = memory_free_;
    for (const Warp& warp : warps_) last = std::max(last, warp.ready);
    return last;
  }

 private:
  struct Round {
    int count = 0;
    double middle = 0;  // the time when half of those that are run were done
  };
  struct Warp {
    size_t at = 0;
    double ready = kBlockStart;  // from when on it may issue, but for scoreboards and pipes
    std::array<double, kScoreboards> free{};
    std::vector<Round> rounds;
    bool waits_at_barrier = false;
  };

  /// Null: all are done.
  Warp* next() {
    double first = std::numeric_limits<double>::infinity();
    Warp* found = nullptr;
    for (Warp& warp : warps_) {
      if (warp.at == steps_.size() || warp.waits_at_barrier) continue;
      const double time = issue_time(warp);
      // Of equal ones that which waits longest, or one would run away from the others.
      if (time < first || (time == first && warp.ready < found->ready)) first = time, found = &warp;
    }
    return found;
  }

  double& pipe(const WarpStep& step) { return pipes_[static_cast<size_t>(step.pipe)]; }

  double issue_time(const Warp& warp) {
    const WarpStep& step = steps_[warp.at];
    double time = std::max(warp.ready, scheduler_free_);
    for (int i = 0; i < kScoreboards; ++i)
      if (step.control.waits >> i & 1) time = std::max(time, warp.free[static_cast<size_t>(i)]);
    return std::max(time, pipe(step) - (step.pipe == Pipe::access ? kQueue : 0));
  }

  void issue(Warp& warp) {
    const WarpStep& step = steps_[warp.at];
    const StepClocks& clocks = clocks_[warp.at];
    const double time = issue_time(warp), start = std::max(time, pipe(step));
    scheduler_free_ = time + 1;
    if (step.pipe != Pipe::none) pipe(step) = start + clocks.busy;
    double moved = start;
    if (step.global)
      moved = memory_free_ = std::max(memory_free_, start) + kLanesOfWarp * step.bytes / load_.bytes_per_clock;
    take(warp, step.control.written, moved + clocks.answered);
    take(warp, step.control.read, start + kOperandsRead);
    warp.ready = time + std::max(1, step.control.stall);
    step.barrier ? arrive(warp) : go_on(warp);
  }

  static void take(Warp& warp, int scoreboard, double until) {
    if (scoreboard < 0 || scoreboard >= kScoreboards) return;
    double& free = warp.free[static_cast<size_t>(scoreboard)];
    free = std::max(free, until);
  }

  /// The last one of a block lets the others go on.
  void arrive(Warp& warp) {
    warp.waits_at_barrier = true;
    const size_t together = static_cast<size_t>(load_.together);
    const size_t first = static_cast<size_t>(&warp - warps_.data()) / together * together;
    const size_t end = std::min(warps_.size(), first + together);
    double latest = 0;
    for (size_t w = first; w < end; ++w) {
      if (warps_[w].at == steps_.size()) continue;
      if (!warps_[w].waits_at_barrier) return;
      latest = std::max(latest, warps_[w].ready);
    }
    for (size_t w = first; w < end; ++w) {
      if (!warps_[w].waits_at_barrier) continue;
      warps_[w].waits_at_barrier = false;
      warps_[w].ready = latest + kBarrier;
      go_on(warps_[w]);
    }
  }

  void go_on(Warp& warp) {
    ++warp.at;
    for (const size_t l : ends_[warp.at]) {
      const WarpLoop& loop = loops_[l];
      Round& round = warp.rounds[l];
      ++round.count;
      if (round.count == kRounds / 2) round.middle = warp.ready;
      if (round.count < std::min<double>(kRounds, std::round(loop.trips))) {
        warp.at = loop.begin;
        if (l + 1 == loops_.size()) warp.ready += kBlockStart;
        return;
      }
      if (loop.trips > kRounds) leap(warp, (loop.trips - kRounds) * (warp.ready - round.middle) / (kRounds / 2));
      round = {};
    }
  }

  static void leap(Warp& warp, double clocks) {
    warp.ready += clocks;
    for (double& free : warp.free) free += clocks;
  }

  const std::vector<WarpStep>& steps_;
  std::vector<WarpLoop> loops_;  // the last one: blocks
  const WarpLoad& load_;
  std::vector<std::vector<size_t>> ends_;  // by step, the loops that end before it, inner ones first
  std::vector<StepClocks> clocks_;         // by step
  std::vector<Warp> warps_;
  std::array<double, 5> pipes_{};  // when each is free
  double scheduler_free_ = 0, memory_free_ = 0;
};

}  // namespace

double warp_clocks(const Gpu& gpu, const WarpProgram& program, const WarpLoad& load) {
  if (program.steps.empty()) return 0;
  return Scheduler(gpu, program, load).run() / program.share;
}

}  // namespace mambac::tools
