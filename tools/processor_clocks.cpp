#include "tools/processor_clocks.h"

#include <algorithm>
#include <cmath>

#include "codegen/machine/running_code.h"

namespace mambac::tools {
namespace {

/// A processor looks so many instructions ahead at most: a loop that is written out in so few is one with what is
/// around it, and what takes so many is followed long enough to know how long the next ones take.
constexpr double kWindow = 1024;

class Follower {
 public:
  Follower(const ProcessorCode& code, size_t stage)
      : code_(code), stage_(stage), flows_(code.stages()[stage].function.instructions) {}

  /// Of one task, whose instructions run so often.
  ProcessorClocks run(std::vector<double> runs, double tasks) {
    ProcessorClocks found;
    for (const double once : runs) found.instructions += once;
    for (size_t b = 0; b < flows_.count(); ++b)
      if (!flows_.loops_of(b).empty())  // all of them are within the one over tasks
        for (size_t i = flows_.block(b).begin; i < flows_.block(b).end; ++i) runs[i] *= tasks;
    const Iteration whole = iteration_of(machine::running_code(flows_, runs));
    found.clocks = (apart_ + repeated(whole.steps, 1)) / tasks;
    return found;
  }

 private:
  /// What an iteration of a loop does, but for loops within that count by themselves.
  struct Iteration {
    std::vector<size_t> steps;
    bool has_loops = false;  // of those
  };

  Iteration iteration_of(const machine::RunningLoop& loop) {
    Iteration found;
    for (const machine::RunningLoop::Part& part : loop.parts) {
      if (part.loop >= 0)
        add_loop(found, loop.loops[static_cast<size_t>(part.loop)], loop.runs);
      else
        for (size_t i = flows_.block(part.block).begin; i < flows_.block(part.block).end; ++i) found.steps.push_back(i);
    }
    return found;
  }

  void add_loop(Iteration& outer, const machine::RunningLoop& loop, double around) {
    const Iteration inner = iteration_of(loop);
    if (!inner.has_loops && loop.trips * static_cast<double>(inner.steps.size()) <= kWindow) {
      for (double trip = 0; trip + 0.5 < loop.trips; ++trip)
        outer.steps.insert(outer.steps.end(), inner.steps.begin(), inner.steps.end());
      return;
    }
    outer.has_loops |= loop.trips > 1 || inner.has_loops;
    apart_ += around * (repeated(inner.steps, loop.trips) + (loop.trips > 1 ? code_.mispredicted_clocks() : 0));
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
  const machine::ControlFlow flows_;
  double apart_ = 0;  // clocks of loops that count by themselves
};

}  // namespace

ProcessorClocks processor_clocks(const ProcessorCode& code, size_t stage, const std::vector<double>& runs,
                                 int64_t tasks) {
  if (runs.empty()) return {};
  return Follower(code, stage).run(runs, static_cast<double>(tasks));
}

}  // namespace mambac::tools
