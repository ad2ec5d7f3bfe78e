// Loads of the next tile while this one is computed.
//
// The tiles of a walk are a loop, and its whole tiles one side of a branch in it:
//
//   for t                                       if t0 is a whole tile { fetch what it loads }
//     if t is a whole tile                      for t
//       x = load(t)                               if t is a whole tile
//       ... x ...                                   ... what was fetched ...
//     else                                          fetch what t + 1 loads; if that is no whole tile, t again
//       ...                               =>        ...
//                                                 else
//                                                   if t + 1 is a whole tile { fetch what it loads }
//                                                   ...
//
// A tile's time is less than what memory takes to answer. So the tiles after that one are brought into the cache that
// all multiprocessors share, from where they come sooner.
//
// What is fetched lies in registers as it does in memory, since widening it would wait for it. It is fetched behind the
// statement that takes the values of this tile, so that each has but one place.
#include <algorithm>
#include <map>
#include <span>

#include "codegen/loop_rewrite.h"
#include "codegen/threads.h"
#include "codegen/tile_loops.h"
#include "ir/error.h"

namespace mambac {

namespace {

using loop::Block;
using loop::Int;
using loop::Stmt;
using loop::StmtKind;
using loop::Var;

/// A thread holds at most so many values of one statement's.
constexpr int64_t kMostValues = 64;

class TileFetcher {
 public:
  TileFetcher(const loop::Kernel& kernel, loop::Stage& stage) : kernel_(kernel), stage_(stage), loops_(stage) {}

  void run() {
    loops_.each([&](Stmt& tiles, const std::vector<Var>& scope) {
      scope_ = scope;
      return take_ahead(tiles);
    });
  }

 private:
  /// What a thread loads of a buffer in one statement: the loops around it, and where each value is kept.
  struct Fetch {
    std::vector<const Stmt*> loops;
    Stmt load;
    Int place;
    int64_t count = 1;
    int array = -1;
  };

  /// Rewrites the loop over tiles; returns what must stand before it.
  Block take_ahead(Stmt& tiles) {
    Stmt& whole = tiles.body[0];
    Block first, in_short_tile;
    for (size_t i = 0; i < whole.body.size(); ++i) {
      std::vector<Fetch> fetches;
      std::vector<const Stmt*> loops;
      find(whole.body[i], loops, fetches);
      if (fetches.empty()) continue;
      Block taken, near;
      for (size_t f = 0; f < fetches.size(); ++f) {
        Fetch& fetch = fetches[f];
        fetch.array = array_of_same(fetch, std::span(fetches).first(f));
        if (fetch.array >= 0) continue;
        if (std::optional<Stmt> lines = prefetched(fetch)) near.push_back(std::move(*lines));
        taken.push_back(fetched(fetch));
      }
      Block behind = for_later_tile(tiles, 1, taken);
      if (kernel_.schedule.tiles_ahead > 1)
        std::ranges::move(for_later_tile(tiles, kernel_.schedule.tiles_ahead, near), std::back_inserter(behind));
      first.push_back(loops_.when_whole(tiles, tiles.begin, taken));
      in_short_tile.push_back(loops_.when_whole(tiles, loop::variable(tiles.var) + 1, taken));
      size_t done = 0;
      replace(whole.body[i], fetches, done);
      whole.body.insert(whole.body.begin() + static_cast<std::ptrdiff_t>(i) + 1, behind.begin(), behind.end());
      i += behind.size();
    }
    whole.otherwise.insert(whole.otherwise.begin(), in_short_tile.begin(), in_short_tile.end());
    return first;
  }

  /// Where one of the fetches before keeps the same values; -1 if none does.
  static int array_of_same(const Fetch& fetch, std::span<const Fetch> before) {
    const auto same = std::ranges::find_if(before, [&](const Fetch& other) { return is_same(fetch, other); });
    return same == before.end() ? -1 : same->array;
  }

  /// Lanes that share time have no registers to spare for addresses that are computed beside everything else.
  Block for_later_tile(const Stmt& tiles, int64_t further, const Block& statements) {
    if (kernel_.schedule.time_lanes == 1) return loops_.for_later_tile(tiles, further, statements);
    if (statements.empty()) return {};
    return {loops_.when_whole(tiles, loop::variable(tiles.var) + further, statements)};
  }

  /// The loads below a statement whose place is known a tile before, and whose values are few.
  void find(const Stmt& s, std::vector<const Stmt*>& loops, std::vector<Fetch>& fetches) {
    if (s.kind == StmtKind::Load && is_known_before(s, loops)) {
      Fetch fetch{loops, s, loop::constant(0)};
      if (count_values(fetch)) fetches.push_back(std::move(fetch));
      return;
    }
    if (s.kind != StmtKind::For || !(s.unroll || s.spread)) return;
    loops.push_back(&s);
    for (const Stmt& inner : s.body) find(inner, loops, fetches);
    loops.pop_back();
  }

  bool is_known_before(const Stmt& load, const std::vector<const Stmt*>& loops) const {
    if (kernel_.buffers[static_cast<size_t>(load.buffer)].written) return false;
    std::set<Var> known(scope_.begin(), scope_.end());
    known.insert(stage_.task);
    for (const Stmt* loop : loops) known.insert(loop->var);
    const bool of_one_thread =
        load.lane_stride || std::any_of(loops.begin(), loops.end(), [](const Stmt* l) { return l->spread; });
    return of_one_thread &&
           std::ranges::all_of(loop::variables(load.offset), [&](Var v) { return known.count(v) > 0; });
  }

  /// Numbers the values that a thread loads. False when there are too many, or nobody knows how many.
  bool count_values(Fetch& fetch) const {
    for (const Stmt* l : fetch.loops) {
      int64_t begin = 0, end = 0;
      if (!is_constant(l->begin, &begin) || !is_constant(l->end, &end) || begin != 0 || end < 1) return false;
      const int64_t by = l->spread ? kernel_.schedule.width : l->step, trips = (end + by - 1) / by;
      fetch.place = fetch.place * trips + (trips == 1 ? loop::constant(0) : loop::variable(l->var) / by);
      fetch.count *= trips;
    }
    return fetch.count <= kMostValues;
  }

  /// Two recurrences that resume from one stored state load it twice.
  static bool is_same(const Fetch& x, const Fetch& y) {
    const auto same = [](const Int& a, const Int& b) { return a == b || (a && b && loop::is_same(a, b)); };
    return x.loops == y.loops && x.load.buffer == y.load.buffer && same(x.load.offset, y.load.offset) &&
           same(x.load.lane_stride, y.load.lane_stride) && same(x.load.valid, y.load.valid);
  }

  /// The loops that fetch it, into an array of its own.
  Stmt fetched(Fetch& fetch) {
    const loop::Buffer& buffer = kernel_.buffers[static_cast<size_t>(fetch.load.buffer)];
    fetch.array = static_cast<int>(stage_.arrays.size());
    stage_.arrays.push_back(
        {.name = buffer.name + ".ahead", .count = fetch.count, .space = loop::Space::registers, .dtype = buffer.dtype});
    Stmt s = fetch.load;
    s.kind = StmtKind::Fetch;
    s.result = -1;
    s.comment.clear();
    s.array = fetch.array;
    s.place = fetch.place;
    return around(fetch.loops, std::move(s));
  }

  /// Each thread brings near one piece of the cache: so much of a step's lanes. Nothing where lanes are no neighbours,
  /// or some do not exist; and what all threads load, others of the batch do, too.
  std::optional<Stmt> prefetched(const Fetch& fetch) {
    const Stmt& load = fetch.load;
    int64_t neighbours = 0;
    if (!load.lane_stride || load.valid || !is_constant(load.lane_stride, &neighbours) || neighbours != 1)
      return std::nullopt;
    const auto bytes = static_cast<int64_t>(bytes_of(kernel_.buffers[static_cast<size_t>(load.buffer)].dtype));
    const int64_t lines = std::max<int64_t>(kernel_.schedule.width / stage_.pieces * bytes / kLineBytes, 1);
    const int64_t pieces = differs_between_lanes(load.offset) ? stage_.pieces : 1;
    Stmt spread;
    spread.kind = StmtKind::For;
    spread.origin = load.origin;
    spread.var = stage_.vars++;
    spread.begin = loop::constant(0);
    spread.end = loop::constant(fetch.count * pieces * lines);
    spread.spread = true;
    Int rest = loop::variable(spread.var);
    Stmt s = load;
    s.kind = StmtKind::Prefetch;
    s.result = -1;
    s.comment.clear();
    s.lane_stride = nullptr;
    s.offset = with_piece(s.offset, rest / lines % pieces) + rest % lines * (kLineBytes / bytes);
    rest = rest / (lines * pieces);
    std::map<Var, Int> by;
    for (auto l = fetch.loops.rbegin(); l != fetch.loops.rend(); ++l) {
      int64_t end = 0;
      is_constant((*l)->end, &end);
      const int64_t trips = (end + (*l)->step - 1) / (*l)->step;
      by[(*l)->var] = rest % trips * (*l)->step;
      rest = rest / trips;
    }
    s.offset = substitute(s.offset, by);
    spread.body = {std::move(s)};
    return spread;
  }

  static Stmt around(const std::vector<const Stmt*>& loops, Stmt inside) {
    for (auto l = loops.rbegin(); l != loops.rend(); ++l) {
      Stmt loop = **l;
      loop.comment.clear();
      loop.body = {std::move(inside)};
      inside = std::move(loop);
    }
    return inside;
  }

  /// The loads, in the order in which they were found, become those of what was fetched.
  static void replace(Stmt& s, const std::vector<Fetch>& fetches, size_t& done) {
    if (done < fetches.size() && s.kind == StmtKind::Load && s.result == fetches[done].load.result) {
      const Fetch& fetch = fetches[done++];
      s.kind = StmtKind::LoadArray;
      s.buffer = fetch.array;
      s.offset = fetch.place;
      s.lane_stride = s.valid = nullptr;
      return;
    }
    for (Stmt& inner : s.body) replace(inner, fetches, done);
  }

  const loop::Kernel& kernel_;
  loop::Stage& stage_;
  TileLoops loops_;
  std::vector<Var> scope_;  // variables of the loops around
};

}  // namespace

void fetch_tiles_ahead(const loop::Kernel& kernel, loop::Stage& stage) { TileFetcher(kernel, stage).run(); }

}  // namespace mambac
