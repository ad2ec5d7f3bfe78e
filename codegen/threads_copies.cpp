// What whole tiles stage, copied into shared memory some tiles before.
//
// A loop that is shared out fills an array with what lies in memory, narrower than f32 perhaps and in another order.
// Its loads become asynchronous copies of 16 bytes into a ring in shared memory, of so many tiles as the schedule says,
// each as it lies in memory; and the loop reads the ring:
//
//   for the first tiles { copy to the ring; commit }
//   for t
//     wait for the oldest group; barrier
//     array[place(i)] = ring[t % tiles][i]
//     barrier
//     copy tile t + tiles to the ring; commit
//     ... the tile, which reads the array ...
//
// So numbers are widened when they leave the ring, once for all threads: an access more for each staged number. Lanes
// that read the ring itself would widen each number for themselves, and read it one at a time where the array has the
// steps of a tile side by side, 16 bytes of them in one access.
#include <algorithm>
#include <optional>

#include "codegen/loop_rewrite.h"
#include "codegen/threads.h"
#include "codegen/tile_loops.h"

namespace mambac {

namespace {

using loop::Block;
using loop::Int;
using loop::IntOp;
using loop::Stmt;
using loop::StmtKind;
using loop::Var;

constexpr int64_t kCopyBytes = 16;

bool is_multiple(const Int& a, int64_t of) {
  switch (a->op) {
    case IntOp::Const:
      return a->value % of == 0;
    case IntOp::Add:
    case IntOp::Sub:
    case IntOp::Mod:
      return is_multiple(a->a, of) && is_multiple(a->b, of);
    case IntOp::Mul:
      return is_multiple(a->a, of) || is_multiple(a->b, of);
    default:
      return false;
  }
}

/// An expression where a variable is number * count + rest, rest < count: base + rest * step.
struct CopiedRun {
  Int base;
  int64_t step = 0;
};

/// Nothing when it is not of this form.
std::optional<CopiedRun> in_runs(const Int& a, Var var, const Int& number, int64_t count) {
  if (a->op == IntOp::Var && a->value == var) return CopiedRun{number * count, 1};
  if (!a->a) return CopiedRun{a, 0};
  const std::optional<CopiedRun> x = in_runs(a->a, var, number, count), y = in_runs(a->b, var, number, count);
  if (!x || !y) return std::nullopt;
  const bool still = x->step == 0 && y->step == 0;
  int64_t by = 0;
  const bool whole = x->step == 1 && is_multiple(x->base, count) && is_constant(a->b, &by) && by % count == 0;
  switch (a->op) {
    case IntOp::Add:
      return CopiedRun{x->base + y->base, x->step + y->step};
    case IntOp::Sub:
      return CopiedRun{x->base - y->base, x->step - y->step};
    case IntOp::Mul:
      if (still) return CopiedRun{x->base * y->base, 0};
      if (y->step == 0 && is_constant(y->base, &by)) return CopiedRun{x->base * by, x->step * by};
      return std::nullopt;
    case IntOp::Div:
      return still || whole ? std::optional(CopiedRun{x->base / y->base, 0}) : std::nullopt;
    case IntOp::Mod:
      return still || whole ? std::optional(CopiedRun{x->base % y->base, x->step}) : std::nullopt;
    case IntOp::Min:
      return still ? std::optional(CopiedRun{min(x->base, y->base), 0}) : std::nullopt;
    case IntOp::Max:
      return still ? std::optional(CopiedRun{max(x->base, y->base), 0}) : std::nullopt;
    default:
      return std::nullopt;
  }
}

class TileCopier {
 public:
  TileCopier(const loop::Kernel& kernel, loop::Stage& stage, int64_t shared_bytes)
      : kernel_(kernel), stage_(stage), loops_(stage), ring_(kernel.schedule.copies_ahead), left_(shared_bytes) {}

  void run() {
    loops_.each([&](Stmt& tiles, const std::vector<Var>& scope) {
      known_ = {scope.begin(), scope.end()};
      known_.insert(stage_.task);
      return copy_ahead(tiles);
    });
  }

 private:
  /// Rewrites the loop over tiles; returns what must stand before it.
  Block copy_ahead(Stmt& tiles) {
    Stmt& whole = tiles.body[0];
    Block copies;
    size_t first = whole.body.size(), last = 0;
    for (size_t i = 0; i < whole.body.size(); ++i) {
      if (!whole.body[i].spread || !copy(whole.body[i], tiles.var, copies)) continue;
      first = std::min(first, i);
      last = i;
    }
    if (copies.empty()) return {};
    const Block later{loops_.when_whole(tiles, loop::variable(tiles.var) + ring_, copies),
                      made(StmtKind::CommitCopies, tiles.origin)};
    const Block in_short_tile{loops_.fresh(later[0]), later[1]};
    whole.otherwise.insert(whole.otherwise.begin(), in_short_tile.begin(), in_short_tile.end());
    whole.body.insert(whole.body.begin() + static_cast<std::ptrdiff_t>(last) + 1, later.begin(), later.end());
    Stmt wait = made(StmtKind::WaitCopies, tiles.origin);
    wait.groups = ring_ - 1;
    whole.body.insert(whole.body.begin() + static_cast<std::ptrdiff_t>(first), wait);
    Block before;
    for (int tile = 0; tile < ring_; ++tile) {
      before.push_back(loops_.when_whole(tiles, tiles.begin + tile, copies));
      before.push_back(made(StmtKind::CommitCopies, tiles.origin));
    }
    return before;
  }

  static Stmt made(StmtKind kind, int origin) {
    Stmt s;
    s.kind = kind;
    s.origin = origin;
    return s;
  }

  /// Replaces loads of a loop that is shared out; false when there are none that can be copied.
  bool copy(Stmt& loop, Var tile, Block& copies) {
    int64_t count = 0;
    if (!is_constant(loop.end, &count)) return false;
    const size_t before = copies.size();
    for (Stmt& s : loop.body) {
      if (s.kind != StmtKind::Load || kernel_.buffers[static_cast<size_t>(s.buffer)].written) continue;
      const loop::Buffer& buffer = kernel_.buffers[static_cast<size_t>(s.buffer)];
      const auto bytes = static_cast<int64_t>(bytes_of(buffer.dtype));
      const Int slot = loop::variable(tile) % ring_ * count;
      std::optional<Stmt> copied = copy_loop(s, loop.var, count, kCopyBytes / bytes);
      if (!copied || ring_ * count * bytes > left_) continue;
      left_ -= ring_ * count * bytes;
      copied->body[0].array = static_cast<int>(stage_.arrays.size());
      copied->body[0].place = slot + copied->body[0].place;
      stage_.arrays.push_back({.name = buffer.name + ".ring",
                               .lanes = false,
                               .count = ring_ * count,
                               .space = loop::Space::shared,
                               .dtype = buffer.dtype});
      copies.push_back(std::move(*copied));
      s.kind = StmtKind::LoadArray;
      s.buffer = static_cast<int>(stage_.arrays.size()) - 1;
      s.offset = slot + loop::variable(loop.var);
    }
    return copies.size() > before;
  }

  /// The loop that copies `at_once` elements an iteration, to their places in a tile of the ring. Nothing where
  /// neighbouring iterations do not load neighbours, those of an access not where such a one may begin, or where the
  /// place is not known tiles before.
  std::optional<Stmt> copy_loop(const Stmt& load, Var var, int64_t count, int64_t at_once) {
    std::set<Var> used = variables(load.offset);
    used.erase(var);
    if (load.lane_stride || count % at_once != 0 || !std::ranges::includes(known_, used)) return std::nullopt;
    Stmt loop = made(StmtKind::For, load.origin);
    loop.var = stage_.vars++;
    const auto run = in_runs(load.offset, var, loop::variable(loop.var), at_once);
    if (!run || run->step != 1 || !is_multiple(run->base, at_once)) return std::nullopt;
    loop.begin = loop::constant(0);
    loop.end = loop::constant(count / at_once);
    loop.spread = true;
    Stmt copied = made(StmtKind::CopyAsync, load.origin);
    copied.buffer = load.buffer;
    copied.offset = run->base;
    copied.place = loop::variable(loop.var) * at_once;
    loop.body = {std::move(copied)};
    return loop;
  }

  const loop::Kernel& kernel_;
  loop::Stage& stage_;
  TileLoops loops_;
  const int ring_;  // tiles
  int64_t left_;    // bytes of shared memory
  std::set<Var> known_;
};

}  // namespace

void copy_tiles_ahead(const loop::Kernel& kernel, loop::Stage& stage, int64_t shared_bytes) {
  TileCopier(kernel, stage, shared_bytes).run();
}

}  // namespace mambac
