#include "codegen/machine/running_code.h"

#include <algorithm>

namespace mambac::machine {
namespace {

class Finder {
 public:
  Finder(const ControlFlow& flows, const std::vector<double>& runs)
      : flows_(flows), runs_(runs), done_(flows.count(), false) {}

  /// Adds what lies in a loop of the machine code (-1: in none).
  void add_parts(RunningLoop& to, int loop) {
    for (size_t b = 0; b < flows_.count(); ++b) {
      if (done_[b] || (loop >= 0 && !blocks_of(loop).contains(b))) continue;
      if (const int within = loop_within(b, loop); within >= 0) {
        add_loop(to, within);
        continue;
      }
      done_[b] = true;
      if (2 * runs_of(b) >= to.runs) to.parts.push_back({b, -1});
    }
  }

 private:
  const std::set<size_t>& blocks_of(int loop) const { return flows_.loops()[static_cast<size_t>(loop)].blocks; }
  double runs_of(size_t block) const { return runs_[flows_.block(block).begin]; }

  /// The outermost loop with the block that lies within this one; -1: there is none.
  int loop_within(size_t block, int loop) const {
    int found = -1;
    for (const size_t l : flows_.loops_of(block)) {  // inner ones first
      if (static_cast<int>(l) == loop) break;
      found = static_cast<int>(l);
    }
    return found;
  }

  void add_loop(RunningLoop& to, int loop) {
    RunningLoop found;
    found.runs = runs_of(flows_.loops()[static_cast<size_t>(loop)].head);
    if (2 * found.runs < to.runs) {
      for (const size_t b : blocks_of(loop)) done_[b] = true;
      return;
    }
    found.trips = std::max(1.0, found.runs / to.runs);
    add_parts(found, loop);
    to.parts.push_back({0, static_cast<int>(to.loops.size())});
    to.loops.push_back(std::move(found));
  }

  const ControlFlow& flows_;
  const std::vector<double>& runs_;
  std::vector<bool> done_;
};

}  // namespace

RunningLoop running_code(const ControlFlow& flows, const std::vector<double>& runs) {
  RunningLoop whole;
  Finder(flows, runs).add_parts(whole, -1);
  return whole;
}

}  // namespace mambac::machine
