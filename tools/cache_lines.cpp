#include "tools/cache_lines.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <ranges>
#include <set>

namespace mambac::tools {
namespace {

using loop::Stmt;
using loop::StmtKind;

class Accesses {
 public:
  Accesses(const loop::Kernel& kernel, const loop::Stage& stage, const std::vector<int64_t>& sizes,
           const NearMemory& memory)
      : kernel_(kernel), stage_(stage), sizes_(sizes), memory_(memory) {}

  LateLines of_task(int64_t task, int64_t neighbours) {
    vars_.assign(static_cast<size_t>(stage_.vars), 0);
    vars_[static_cast<size_t>(stage_.task)] = task;
    Stmt tasks;
    tasks.var = stage_.task;
    around_.push_back({&tasks, static_cast<double>(neighbours)});
    walk(stage_.body);
    for (size_t i = 0; i < seen_.size(); ++i) {
      if (seen_[i].of_array)
        find_swept(i);
      else if (!find_again(i))
        find_pieces(seen_[i]);
    }
    const auto all = static_cast<double>(neighbours);
    return {lines_.unforeseen / all, lines_.foreseen / all,    lines_.taken / all, lines_.again / all,
            lines_.from_l3 / all,    lines_.from_memory / all, lines_.swept / all};
  }

 private:
  struct Around {
    const Stmt* loop;
    double trips;
  };
  struct Moving {
    const Stmt* loop;
    double trips;
    double step;  // bytes from one iteration to the next one
  };
  /// A statement that was come to.
  struct Access {
    bool of_array;               // of the stage, else of the kernel's buffers
    bool stores;
    int buffer;                  // or array
    double offset;               // of the first execution, bytes
    double bytes;                // of one execution
    double times = 1;            // executions of a task
    std::vector<Moving> moving{};  // the loops around it that it moves with, outer ones first
    std::vector<Around> around{};  // all loops around it
  };

  int64_t value(const loop::Int& a) const { return loop::evaluate(a, vars_, sizes_); }

  /// Loops are looked at in their first iteration, which stands for all.
  void walk(const loop::Block& block) {
    for (const Stmt& s : block) {
      if (s.kind == StmtKind::If) walk(value(s.begin) < value(s.end) ? s.body : s.otherwise);
      if (s.kind == StmtKind::For) iterate(s);
      if (s.kind == StmtKind::Load || s.kind == StmtKind::Store || s.kind == StmtKind::LoadBlock ||
          s.kind == StmtKind::StoreBlock)
        access(s);
      if ((s.kind == StmtKind::LoadArray || s.kind == StmtKind::StoreArray) &&
          array_of(s).space == loop::Space::scratch)
        access_array(s);
    }
  }

  void iterate(const Stmt& s) {
    const int64_t begin = value(s.begin), end = value(s.end);
    if (begin >= end) return;
    vars_[static_cast<size_t>(s.var)] = begin;
    around_.push_back({&s, static_cast<double>((end - begin + s.step - 1) / s.step)});
    walk(s.body);
    around_.pop_back();
  }

  /// Bytes from one iteration of a loop to the next one, in which loops within may begin elsewhere.
  double stride(const Stmt& s, const Around& loop, double element) {
    const std::vector<int64_t> here = vars_;
    vars_[static_cast<size_t>(loop.loop->var)] += loop.loop->step;
    auto within = std::ranges::find(around_, loop.loop, &Around::loop);
    for (++within; within != around_.end(); ++within)
      vars_[static_cast<size_t>(within->loop->var)] = value(within->loop->begin);
    const int64_t there = value(s.offset);
    vars_ = here;
    return element * std::abs(static_cast<double>(there - value(s.offset)));
  }

  double bytes_of_access(const Stmt& s, double element) const {
    const bool block = s.kind == StmtKind::LoadBlock || s.kind == StmtKind::StoreBlock;
    const bool lanes = block || s.lane_stride != nullptr;
    return element * (lanes ? kernel_.schedule.width : 1) * static_cast<double>(block ? s.columns : 1);
  }

  double offset_of(const Stmt& s, double element) const { return static_cast<double>(value(s.offset)) * element; }

  void access(const Stmt& s) {
    const auto element = static_cast<double>(bytes_of(kernel_.buffers[static_cast<size_t>(s.buffer)].dtype));
    const bool stores = s.kind == StmtKind::Store || s.kind == StmtKind::StoreBlock;
    Access one{false, stores, s.buffer, offset_of(s, element), bytes_of_access(s, element)};
    find_loops(s, one, element);
    seen_.push_back(std::move(one));
  }

  const loop::Array& array_of(const Stmt& s) const { return stage_.arrays[static_cast<size_t>(s.buffer)]; }
  void access_array(const Stmt& s) {
    const double element = sizeof(float) * (array_of(s).lanes ? static_cast<double>(kernel_.schedule.width) : 1);
    Access one{true, s.kind == StmtKind::StoreArray, s.buffer, offset_of(s, element), element};
    find_loops(s, one, element);
    seen_.push_back(std::move(one));
  }

  void find_loops(const Stmt& s, Access& one, double element) {
    for (const Around& loop : around_) {
      one.times *= loop.trips;
      one.around.push_back(loop);
      const double step = stride(s, loop, element);
      if (step > 0) one.moving.push_back({loop.loop, loop.trips, step});
    }
  }

  /// Loops whose iterations go on where the one before ended make one piece of memory; those within them that do not
  /// are several pieces at a time, if not too many. So do accesses that go through it together, each a part of an
  /// iteration.
  void find_pieces(const Access& one) {
    double piece = one.bytes, pieces = 1, together = 1, next = 0, apart = HUGE_VAL, iterations = 1;
    for (const Moving& loop : one.moving) iterations *= loop.trips;
    for (const Moving& loop : std::views::reverse(one.moving)) {
      const double others = pieces > memory_.streams ? 0 : together_with(one, piece, loop.step);
      if (others * piece == loop.step) {
        const double jump = loop.step - piece;  // to what others have read meanwhile
        lines_.unforeseen += iterations * first_lines(piece) * std::min(1.0, jump / memory_.ahead_bytes);
        piece = loop.step * loop.trips;
        together *= others;
      } else {
        pieces *= loop.trips;
        if (loop.loop != one.around[0].loop) apart = std::min(apart, loop.step);  // of one task
        if (next == 0 && !loop.loop->unroll && loop.trips > 1) next = loop.step;
      }
      iterations /= loop.trips;
    }
    const bool regular = piece == one.bytes && piece >= kLineBytes && next > 0 && next <= memory_.stride_bytes;
    if (regular)
      lines_.foreseen += pieces * std::max(1.0, piece / kLineBytes) / together;
    else
      lines_.unforeseen += pieces * first_lines(piece) / together;
    // A thread with several tasks goes on where it has been itself, not beside another one.
    const bool beside = one.around[0].trips == 1 && apart > piece;
    if (one.stores && piece > kLineBytes && beside) lines_.taken += pieces / together;
  }

  double first_lines(double piece) const { return std::clamp(piece / kLineBytes, 1.0, memory_.first_lines); }

  /// How many accesses of a loop each have such a piece of one of its steps, 1 where that is the whole of it.
  double together_with(const Access& one, double piece, double step) const {
    if (step == piece || step > memory_.streams * piece) return 1;
    std::set<double> offsets;
    for (const Access& other : seen_) {
      const double apart = std::abs(other.offset - one.offset);
      if (is_same_place(one, other) && other.around.back().loop == one.around.back().loop && apart < step &&
          std::fmod(apart, piece) == 0)
        offsets.insert(std::fmod(other.offset, step));
    }
    return static_cast<double>(offsets.size());
  }

  /// The loops that both have around them, outer ones first.
  static size_t shared_loops(const Access& a, const Access& b) {
    size_t shared = 0;
    while (shared < a.around.size() && shared < b.around.size() && a.around[shared].loop == b.around[shared].loop)
      ++shared;
    return shared;
  }

  /// What an access moves over in one iteration of the innermost of so many loops around it.
  static double bytes_within(const Access& one, size_t loops) {
    double bytes = one.bytes;
    for (const Around& loop : one.around | std::views::drop(loops))
      if (moves_with(one, loop)) bytes *= loop.trips;
    return bytes;
  }
  static bool moves_with(const Access& one, const Around& loop) {
    return std::ranges::find(one.moving, loop.loop, &Moving::loop) != one.moving.end();
  }

  /// An access to what one before it had, in another loop: has the cache kept that? Whether it is near.
  bool find_again(size_t second) {
    const Access& again = seen_[second];
    for (size_t first = second; first-- > 0;) {
      const size_t shared = shared_loops(seen_[first], again);
      if (shared == again.around.size() || !meet(seen_[first], again, shared)) continue;
      const double lines = again.times * again.bytes / kLineBytes;
      const double touched = bytes_touched(first, second, again, shared);
      if (touched > memory_.l1_bytes) lines_.again += lines;
      add_far(lines, touched);
      return touched <= memory_.l2_bytes;
    }
    return false;
  }

  /// Lines that are come to again after so many bytes.
  void add_far(double lines, double touched) {
    if (touched > memory_.l3_bytes)
      lines_.from_memory += lines;
    else if (touched > memory_.l2_bytes)
      lines_.from_l3 += lines;
  }

  /// Whether what they move over in one iteration of the loops that they share is the same in part.
  static bool meet(const Access& a, const Access& b, size_t loops) {
    return is_same_place(a, b) && a.offset < b.offset + bytes_within(b, loops) &&
           b.offset < a.offset + bytes_within(a, loops);
  }

  static bool is_same_place(const Access& a, const Access& b) {
    return a.of_array == b.of_array && a.buffer == b.buffer;
  }

  /// What the accesses from one to another, those in so many loops of `within`, move over in one iteration of the last.
  double bytes_touched(size_t first, size_t last, const Access& within, size_t loops) const {
    struct Piece {
      std::pair<bool, int> place;
      double begin, end;
    };
    std::vector<Piece> pieces;
    for (size_t i = first; i <= last; ++i) {
      const Access& one = seen_[i];
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
  /// to all of that in each of them. The first one waits for it.
  void find_swept(size_t number) {
    const Access& one = seen_[number];
    if (one.moving.empty()) return;
    size_t loops = one.around.size();
    while (loops > 0 && !moves_with(one, one.around[loops - 1])) --loops;  // what is used again at once
    while (loops > 0 && moves_with(one, one.around[loops - 1])) --loops;
    if (loops <= 1) return;  // the outermost one is that of tasks
    const double touched = bytes_in_iteration(one, loops);
    if (touched <= memory_.l1_bytes) return;
    double lines = bytes_within(one, loops) / kLineBytes;
    for (const Around& loop : one.around | std::views::take(loops)) lines *= loop.trips;
    add_far(lines, touched);
    const bool first = std::ranges::none_of(seen_ | std::views::take(number), [&](const Access& other) {
      return shared_loops(other, one) >= loops && meet(other, one, loops);
    });
    if (first) lines_.swept += lines;
  }

  /// What all accesses in the last of so many loops around one of them move over in an iteration of it.
  double bytes_in_iteration(const Access& one, size_t loops) {
    const auto [known, is_new] = in_iteration_.try_emplace(one.around[loops - 1].loop);
    if (is_new) known->second = bytes_touched(0, seen_.size() - 1, one, loops);
    return known->second;
  }

  const loop::Kernel& kernel_;
  const loop::Stage& stage_;
  const std::vector<int64_t>& sizes_;
  const NearMemory& memory_;
  std::vector<int64_t> vars_;
  std::vector<Around> around_;
  std::vector<Access> seen_;
  std::map<const Stmt*, double> in_iteration_;  // bytes, by loop
  LateLines lines_;
};

}  // namespace

LateLines late_lines(const loop::Kernel& kernel, const loop::Stage& stage, int64_t task, int64_t neighbours,
                     const std::vector<int64_t>& sizes, const NearMemory& memory) {
  return Accesses(kernel, stage, sizes, memory).of_task(task, neighbours);
}

}  // namespace mambac::tools
