#include "tools/cache_lines.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <ranges>
#include <set>

namespace mambac::tools {
namespace {

/// Accesses that go through one piece of memory together.
constexpr double kMostTogether = 32;

class Lines {
 public:
  Lines(const std::vector<MemoryAccess>& seen, const NearMemory& memory) : seen_(seen), memory_(memory) {}

  LateLines of_task(int64_t neighbours) {
    for (size_t i = 0; i < seen_.size(); ++i) {
      if (seen_[i].of_array)
        find_swept(i);
      else if (const double near = find_near(i); near < 1)
        find_pieces(seen_[i], 1 - near);
    }
    const auto all = static_cast<double>(neighbours);
    return {lines_.unforeseen / all, lines_.taken / all,       lines_.again / all,
            lines_.from_l3 / all,    lines_.from_memory / all, lines_.swept / all};
  }

 private:
  /// Loops whose iterations go on where the one before ended make one piece of memory; those within them that do not
  /// are several pieces at a time, if not too many. So do accesses that go through it together, each a part of an
  /// iteration.
  void find_pieces(const MemoryAccess& one, double share) {
    double piece = one.bytes, pieces = share, together = 1, next = 0, apart = HUGE_VAL, iterations = share;
    for (const MovingLoop& loop : one.moving) iterations *= loop.trips;
    for (const MovingLoop& loop : std::views::reverse(one.moving)) {
      const double step = std::abs(loop.step);
      const double others = pieces * buffers_in(loop.loop).all > memory_.streams ? 0 : together_with(one, piece, step);
      if (others * piece == step) {
        if (!one.stores) lines_.unforeseen += iterations * lines_at_jump(piece, step - piece, others, loop.loop);
        piece = step * loop.trips;
        together *= others;
      } else {
        pieces *= loop.trips;
        if (loop.loop != one.around[0].loop) apart = std::min(apart, step);  // of one task
        if (next == 0 && !loop.loop->unroll && loop.trips > 1) next = step;
      }
      iterations /= loop.trips;
    }
    const bool regular = piece == one.bytes && piece >= kLineBytes && next > 0 && next <= memory_.stride_bytes;
    if (!regular) lines_.unforeseen += pieces / together * first_lines(piece);
    // A thread with several tasks goes on where it has been itself, not beside another one.
    const bool beside = one.around[0].trips == 1 && apart > piece;
    if (one.stores && piece > kLineBytes && beside) lines_.taken += pieces / together;
  }

  /// Of a row that is read together with others, and goes on behind them: as many come for nothing as then come late.
  double lines_at_jump(double piece, double jump, double together, const loop::Stmt* loop) {
    const double followed = memory_.rows_followed / (together * buffers_in(loop).read);
    return 2 * first_lines(piece) * std::min(1.0, jump / memory_.ahead_bytes) * std::max(0.0, 1 - followed);
  }

  struct Buffers {
    double all = 0, read = 0;  // of those that are read, the ones that move with the loop
  };

  /// Buffers that an iteration of a loop comes to.
  const Buffers& buffers_in(const loop::Stmt* loop) {
    const auto [known, is_new] = buffers_in_.try_emplace(loop);
    if (!is_new) return known->second;
    std::set<int> all, read;
    for (const MemoryAccess& one : seen_) {
      if (one.of_array || std::ranges::find(one.around, loop, &AroundLoop::loop) == one.around.end()) continue;
      all.insert(one.buffer);
      if (!one.stores && std::ranges::find(one.moving, loop, &MovingLoop::loop) != one.moving.end())
        read.insert(one.buffer);
    }
    return known->second = {static_cast<double>(all.size()), static_cast<double>(read.size())};
  }

  double first_lines(double piece) const { return std::clamp(piece / kLineBytes, 1.0, memory_.first_lines); }

  /// How many accesses of a loop each have such a piece of one of its steps, 1 where that is the whole of it.
  double together_with(const MemoryAccess& one, double piece, double step) const {
    if (step == piece || step > kMostTogether * piece) return 1;
    std::set<double> offsets;
    for (const MemoryAccess& other : seen_) {
      const double apart = std::abs(other.offset - one.offset);
      if (is_same_place(one, other) && other.around.back().loop == one.around.back().loop && apart < step &&
          std::fmod(apart, piece) == 0)
        offsets.insert(std::fmod(other.offset, step));
    }
    return static_cast<double>(offsets.size());
  }

  /// An access to what one before it had, in another loop: has the cache kept that? The share that is near.
  double find_near(size_t second) {
    const MemoryAccess& again = seen_[second];
    for (size_t first = second; first-- > 0;) {
      const size_t shared = shared_loops(seen_[first], again);
      if (shared == again.around.size()) continue;
      const double share = share_met(seen_[first], again, shared);
      if (share == 0) continue;
      const double lines = share * again.times * again.bytes / kLineBytes;
      const double touched = bytes_touched(first, second, again, shared);
      if (!is_near(touched)) lines_.again += lines;
      add_far(lines, touched);
      return touched <= memory_.l2_bytes ? share : 0;
    }
    return 0;
  }

  /// Whether the L1 cache keeps what it had before so many bytes. What makes it full to the brim, and a few lines more,
  /// is in few of its sets too much.
  bool is_near(double touched) const { return touched <= memory_.l1_bytes + kPageBytes / 2; }

  /// Lines that are come to again after so many bytes.
  void add_far(double lines, double touched) {
    if (touched > memory_.l3_bytes)
      lines_.from_memory += lines;
    else if (touched > memory_.l2_bytes)
      lines_.from_l3 += lines;
  }

  /// Of what the second one moves over in one iteration of the loops that they share, the share that the first one does.
  static double share_met(const MemoryAccess& a, const MemoryAccess& b, size_t loops) {
    if (!is_same_place(a, b)) return 0;
    const Extent of_a = extent_within(a, loops), of_b = extent_within(b, loops);
    const double both = std::min(of_a.end, of_b.end) - std::max(of_a.begin, of_b.begin);
    return std::max(0.0, both) / (of_b.end - of_b.begin);
  }

  /// What the accesses from one to another, those in so many loops of `within`, move over in one iteration of the last.
  double bytes_touched(size_t first, size_t last, const MemoryAccess& within, size_t loops) const {
    struct Piece {
      std::pair<bool, int> place;
      double begin, end;
    };
    std::vector<Piece> pieces;
    for (size_t i = first; i <= last; ++i) {
      const MemoryAccess& one = seen_[i];
      if (shared_loops(one, within) >= loops)
        pieces.push_back({{one.of_array, one.buffer}, one.offset, one.offset + bytes_within(one, loops)});
    }
    std::ranges::sort(pieces, {}, [](const Piece& piece) { return std::pair(piece.place, piece.begin); });
    double bytes = 0, end = 0;
    const Piece* before = nullptr;
    for (const Piece& piece : pieces) {
      if (before == nullptr || before->place != piece.place) end = piece.begin;
      bytes += std::max(0.0, piece.end - std::max(piece.begin, end));
      end = std::max(end, piece.end);
      before = &piece;
    }
    return bytes;
  }

  /// An access to an array in a loop that it does not move with, but in whose iterations it moves over much: it comes
  /// to all of that in each of them.
  void find_swept(size_t number) {
    const MemoryAccess& one = seen_[number];
    if (one.moving.empty()) return;
    size_t loops = one.around.size();
    while (loops > 0 && !moves_with(one, one.around[loops - 1])) --loops;  // what is used again at once
    while (loops > 0 && moves_with(one, one.around[loops - 1])) --loops;
    if (loops <= 1) return;  // the outermost one is that of tasks
    const double touched = bytes_since(number, loops);
    if (is_near(touched)) return;
    double lines = bytes_within(one, loops) / kLineBytes;
    for (const AroundLoop& loop : one.around | std::views::take(loops)) lines *= loop.trips;
    add_far(lines, touched);
    lines_.swept += lines;
  }

  /// What has been moved over since an access that met this one in the same iteration of so many loops; of the first
  /// one, in a whole iteration.
  double bytes_since(size_t number, size_t loops) {
    const MemoryAccess& one = seen_[number];
    for (size_t before = number; before-- > 0;) {
      const size_t shared = shared_loops(seen_[before], one);
      if (shared >= loops && share_met(seen_[before], one, shared) > 0) return bytes_touched(before, number, one, shared);
    }
    return bytes_in_iteration(one, loops);
  }

  /// What all accesses in the last of so many loops around one of them move over in an iteration of it.
  double bytes_in_iteration(const MemoryAccess& one, size_t loops) {
    const auto [known, is_new] = in_iteration_.try_emplace(one.around[loops - 1].loop);
    if (is_new) known->second = bytes_touched(0, seen_.size() - 1, one, loops);
    return known->second;
  }

  const std::vector<MemoryAccess>& seen_;
  const NearMemory& memory_;
  std::map<const loop::Stmt*, double> in_iteration_;  // bytes, by loop
  std::map<const loop::Stmt*, Buffers> buffers_in_;
  LateLines lines_;
};

}  // namespace

LateLines late_lines(const MemoryAccesses& accesses, const NearMemory& memory) {
  return Lines(accesses.all(), memory).of_task(accesses.neighbours());
}

}  // namespace mambac::tools
