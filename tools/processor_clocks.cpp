#include "tools/processor_clocks.h"

#include <algorithm>
#include <cmath>

#include "codegen/machine/control_flow.h"

namespace mambac::tools {
namespace {

/// A processor looks so many instructions ahead at most: a loop that is written out in so few is one with what is
/// around it, and what takes so many is followed long enough to know how long the next ones take.
constexpr double kWindow = 1024;

class Follower {
 public:
  Follower(const ProcessorCode& code, size_t stage, const std::vector<double>& runs)
      : code_(code), stage_(stage), runs_(runs), flows_(code.stages()[stage].function.instructions) {
    done_.assign(flows_.count(), false);
  }

  ProcessorClocks run() {
    ProcessorClocks found;
    const Level whole = level(-1, 1);
    found.clocks = apart_ + repeated(whole.steps, 1);
    for (const double runs : runs_) found.instructions += runs;
    return found;
  }

 private:
  /// What an iteration of a loop does, but for loops within that count by themselves.
  struct Level {
    std::vector<size_t> steps;
    bool has_loops = false;  // of those
  };

  double runs_of(size_t block) const { return runs_[flows_.block(block).begin]; }

  /// `around`: how often it runs. Blocks in the order of their addresses, loops within it where they begin.
  Level level(int loop, double around) {
    Level found;
    for (size_t b = 0; b < flows_.count(); ++b) {
      if (done_[b] || (loop >= 0 && !flows_.loops()[static_cast<size_t>(loop)].blocks.contains(b))) continue;
      const int within = loop_within(b, loop);
      if (within >= 0) {
        add_loop(found, within, around);
        continue;
      }
      done_[b] = true;
      if (2 * runs_of(b) < around) continue;
      for (size_t i = flows_.block(b).begin; i < flows_.block(b).end; ++i) found.steps.push_back(i);
    }
    return found;
  }

  /// The outermost loop with the block that lies within this one; -1: there is none.
  int loop_within(size_t block, int loop) const {
    int found = -1;
    for (const size_t l : flows_.loops_of(block)) {  // inner ones first
      if (static_cast<int>(l) == loop) break;
      found = static_cast<int>(l);
    }
    return found;
  }

  void add_loop(Level& outer, int loop, double around) {
    const machine::Loop& found = flows_.loops()[static_cast<size_t>(loop)];
    const double runs = runs_of(found.head);
    if (2 * runs < around) {
      for (const size_t b : found.blocks) done_[b] = true;
      return;
    }
    const double trips = std::max(1.0, runs / around);
    const Level inner = level(loop, runs);
    if (!inner.has_loops && trips * static_cast<double>(inner.steps.size()) <= kWindow) {
      for (double trip = 0; trip + 0.5 < trips; ++trip)
        outer.steps.insert(outer.steps.end(), inner.steps.begin(), inner.steps.end());
      return;
    }
    outer.has_loops |= trips > 1 || inner.has_loops;
    apart_ += around * (repeated(inner.steps, trips) + (trips > 1 ? code_.mispredicted_clocks() : 0));
  }

  double repeated(const std::vector<size_t>& steps, double times) const {
    if (steps.empty()) return 0;
    const int some = std::max(2, static_cast<int>(std::ceil(2 * kWindow / static_cast<double>(steps.size()))));
    if (times <= 2 * some)
      return static_cast<double>(code_.clocks(stage_, steps, static_cast<int>(std::lround(times))));
    const auto first = static_cast<double>(code_.clocks(stage_, steps, some));
    const auto twice = static_cast<double>(code_.clocks(stage_, steps, 2 * some));
    return first + (twice - first) / some * (times - some);
  }

  const ProcessorCode& code_;
  const size_t stage_;
  const std::vector<double>& runs_;
  const machine::ControlFlow flows_;
  std::vector<bool> done_;
  double apart_ = 0;  // clocks of loops that count by themselves
};

}  // namespace

ProcessorClocks processor_clocks(const ProcessorCode& code, size_t stage, const std::vector<double>& runs) {
  if (runs.empty()) return {};
  return Follower(code, stage, runs).run();
}

}  // namespace mambac::tools
