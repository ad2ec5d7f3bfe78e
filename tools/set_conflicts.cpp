#include "tools/set_conflicts.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <ranges>
#include <set>

namespace mambac::tools {
namespace {

/// Of a loop that comes to more in one iteration, what is near is decided by how much it is.
constexpr size_t kMostExecutions = 1024;

double set_of(double line) {
  constexpr double kSets = kPageBytes / kLineBytes;
  return line - kSets * std::floor(line / kSets);  // of lines before the buffer's begin, too
}

/// What one access comes to in an iteration of a loop around it.
struct Visit {
  const MemoryAccess* access;
  std::vector<double> offsets;  // of each execution
};

/// In one iteration of the innermost of so many loops around it; nothing where that is too much.
std::optional<std::vector<double>> offsets_in(const MemoryAccess& one, size_t loops) {
  std::vector<double> found{one.offset};
  for (const AroundLoop& around : one.around | std::views::drop(loops)) {
    const auto moving = std::ranges::find(one.moving, around.loop, &MovingLoop::loop);
    if (moving == one.moving.end()) continue;
    if (static_cast<double>(found.size()) * moving->trips > kMostExecutions) return {};
    const size_t before = found.size();
    for (double trip = 1; trip < moving->trips; ++trip)
      for (size_t i = 0; i < before; ++i) found.push_back(found[i] + trip * moving->step);
  }
  return found;
}

/// The lines of each set that a loop comes to in an iteration.
using Sets = std::map<double, std::set<std::pair<int, double>>>;

class Conflicts {
 public:
  Conflicts(const std::vector<MemoryAccess>& accesses, double l1_bytes)
      : accesses_(accesses), ways_(static_cast<size_t>(l1_bytes / kPageBytes)), found_(accesses.size()) {}

  std::vector<double> run() {
    std::set<const loop::Stmt*> known;
    for (const MemoryAccess& one : accesses_) {
      const size_t loops = loop_of(one);
      if (loops > 0 && known.insert(one.around[loops - 1].loop).second) in_loop(one, loops);
    }
    return found_;
  }

 private:
  /// Of the loops around an access the innermost one that is not written out and that it moves with, counted from the
  /// outermost one; 0: none.
  static size_t loop_of(const MemoryAccess& one) {
    size_t loops = one.of_array ? 0 : one.around.size();
    while (loops > 0) {
      const AroundLoop& around = one.around[loops - 1];
      if (!around.loop->unroll && around.trips > 1 && moves_with(one, around)) break;
      --loops;
    }
    return loops;
  }

  void in_loop(const MemoryAccess& within, size_t loops) {
    std::vector<Visit> visits;
    for (const MemoryAccess& one : accesses_) {
      if (one.of_array || shared_loops(one, within) < loops) continue;
      std::optional<std::vector<double>> offsets = offsets_in(one, loops);
      if (!offsets) return;
      visits.push_back({&one, std::move(*offsets)});
    }
    const Sets sets = sets_of(visits, within.around[loops - 1].loop);
    std::set<std::pair<int, double>> seen;
    for (const Visit& visit : visits) {
      if (loop_of(*visit.access) != loops) continue;
      const double iterations = visit.access->times / static_cast<double>(visit.offsets.size());
      for (const double offset : visit.offsets) {
        const double line = std::floor(offset / kLineBytes);
        if (seen.insert({visit.access->buffer, line}).second && sets.at(set_of(line)).size() > ways_)
          found_[static_cast<size_t>(visit.access - accesses_.data())] += iterations;
      }
    }
  }

  /// Of two iterations, since the lines of the next one are on their way while one is computed.
  static Sets sets_of(const std::vector<Visit>& visits, const loop::Stmt* loop) {
    Sets sets;
    for (const Visit& visit : visits) {
      const auto moving = std::ranges::find(visit.access->moving, loop, &MovingLoop::loop);
      const double step = moving == visit.access->moving.end() ? 0 : moving->step;
      for (const double offset : visit.offsets)
        for (const double at : {offset, offset + step}) {
          const double line = std::floor(at / kLineBytes);
          sets[set_of(line)].insert({visit.access->buffer, line});
        }
    }
    return sets;
  }

  const std::vector<MemoryAccess>& accesses_;
  const size_t ways_;
  std::vector<double> found_;
};

}  // namespace

std::vector<double> colliding_lines(const std::vector<MemoryAccess>& accesses, double l1_bytes) {
  return Conflicts(accesses, l1_bytes).run();
}

}  // namespace mambac::tools
