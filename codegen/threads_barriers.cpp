// Where the threads of a task wait for each other.
#include <algorithm>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

#include "codegen/loop_rewrite.h"
#include "codegen/threads.h"

namespace mambac {

namespace {

using loop::Block;
using loop::Int;
using loop::Stmt;
using loop::StmtKind;

/// Who makes an access: every thread the same one, the first thread, each lane its own, threads of each group of lanes
/// (ReduceInto), the thread to which an iteration of a loop was given, or some of the team that it was given to.
enum class Who : uint8_t { all, first, lanes, groups, spread, team };

/// Otherwise of an If that is taken at most once in this loop: what is in there does not meet itself.
struct Branch {
  const loop::IntNode* condition = nullptr;
  loop::Var loop = -1;
  bool operator==(const Branch&) const = default;
};

struct Access {
  std::pair<bool, int> place;  // array or buffer, and its number
  bool store = false;
  bool copy = false;  // CopyAsync
  Who who = Who::all;
  Int at, stride;
  // Of the loop that was shared out; its iteration i is that of the thread (first + i) % width.
  loop::Var loop = -1;
  int64_t first = 0;
  Int end;
  bool moves = false;  // the element of an iteration changes with loops around that one
  bool alone = false;  // nothing but the iteration says which element it is
  std::optional<Branch> branch;
};

class BarrierPlacer {
 public:
  BarrierPlacer(loop::Stage& stage, int width) : stage_(stage), width_(width) {}

  void run() {
    std::set<int> stored, loaded;
    find_accessed(stage_.body, stored, loaded);
    std::set_intersection(stored.begin(), stored.end(), loaded.begin(), loaded.end(),
                          std::inserter(changing_, changing_.end()));
    std::vector<Access> pending;
    block(stage_.body, pending);
  }

 private:
  using Pending = std::vector<Access>;  // accesses since the last barrier

  static void find_accessed(const Block& statements, std::set<int>& stored, std::set<int>& loaded) {
    for (const Stmt& s : statements) {
      if (s.kind == StmtKind::Store || s.kind == StmtKind::StoreBlock) stored.insert(s.buffer);
      if (s.kind == StmtKind::Load || s.kind == StmtKind::LoadBlock) loaded.insert(s.buffer);
      find_accessed(s.body, stored, loaded);
      find_accessed(s.otherwise, stored, loaded);
    }
  }

  void block(Block& statements, Pending& pending) {
    for (size_t i = 0; i < statements.size(); ++i) {
      if (statements[i].kind == StmtKind::Barrier) {
        pending.clear();
        continue;
      }
      if (!needs_none_inside(statements[i])) {
        nested(statements[i], pending);
        continue;
      }
      const Pending accesses = accesses_of(statements[i]);
      if (conflict(pending, accesses)) {
        Stmt barrier;
        barrier.kind = StmtKind::Barrier;
        barrier.origin = statements[i].origin;
        statements.insert(statements.begin() + static_cast<std::ptrdiff_t>(i), barrier);
        ++i;
        ++placed_;
        pending.clear();
      }
      add(pending, accesses);
    }
  }

  /// Then a barrier that its accesses need stands before it, not in its loops.
  bool needs_none_inside(const Stmt& s) const {
    if ((s.body.empty() && s.otherwise.empty()) || s.spread || s.teams) return true;
    if (has_barrier(s.body) || has_barrier(s.otherwise)) return false;
    BarrierPlacer trial(*this);
    Stmt copy = s;
    Pending none;
    trial.nested(copy, none);
    return trial.placed_ == placed_;
  }

  static bool has_barrier(const Block& statements) {
    return std::any_of(statements.begin(), statements.end(), [](const Stmt& s) {
      return s.kind == StmtKind::Barrier || has_barrier(s.body) || has_barrier(s.otherwise);
    });
  }

  void nested(Stmt& s, Pending& pending) {
    if (s.kind == StmtKind::If)
      branches(s, pending);
    else
      iterations(s, pending);
  }

  void branches(Stmt& s, Pending& pending) {
    Pending otherwise = pending;
    block(s.body, pending);
    const std::optional<Branch> outer = branch_;
    if (s.once) {
      branch_ = Branch{s.end.get(), loop_};
      std::erase_if(otherwise, [&](const Access& a) { return a.branch == branch_; });
    }
    block(s.otherwise, otherwise);
    branch_ = outer;
    add(pending, otherwise);
  }

  /// What an iteration leaves pending meets the next one; barriers already placed clear it again.
  void iterations(Stmt& s, Pending& pending) {
    const loop::Var outer = std::exchange(loop_, s.var);
    const std::optional<int64_t> least = lower_bound(s.end - s.begin), most = upper_bound(s.end - s.begin, {});
    const bool again = !most || *most > s.step;
    Pending before = pending;  // an iteration
    for (size_t barriers = placed_;; barriers = placed_) {
      Pending after = before;
      block(s.body, after);
      Pending next = before;
      add(next, after);
      const bool settled = !again || (barriers == placed_ && next.size() == before.size());
      if (settled) pending = least && *least > 0 ? std::move(after) : std::move(next);
      if (settled) break;
      before = std::move(next);
    }
    for (Access& a : pending)
      if (a.branch && a.branch->loop == s.var) a.branch.reset();
    loop_ = outer;
  }

  Pending accesses_of(const Stmt& s) const {
    Pending found;
    add_access(s, found);
    for (const Block* block : {&s.body, &s.otherwise})
      for (const Stmt& inner : *block) add(found, accesses_of(inner));
    if (s.teams)
      for (Access& a : found) a.who = Who::team;
    if (!s.spread) return found;
    const std::set<loop::Var> iteration{s.var, stage_.task};
    std::set<loop::Var> own = iteration;
    own_loops(s.body, own);
    for (Access& a : found) {
      const std::set<loop::Var> used = variables(a.at);
      a.who = Who::spread;
      a.loop = s.var;
      a.first = s.first;
      a.end = s.end;
      a.moves = !std::includes(own.begin(), own.end(), used.begin(), used.end());
      a.alone = std::includes(iteration.begin(), iteration.end(), used.begin(), used.end());
    }
    return found;
  }

  static void own_loops(const Block& statements, std::set<loop::Var>& vars) {
    for (const Stmt& s : statements) {
      if (s.kind == StmtKind::For) vars.insert(s.var);
      own_loops(s.body, vars);
    }
  }

  /// Only memory that several threads see, and that some of them change.
  void add_access(const Stmt& s, Pending& found) const {
    Access a;
    a.at = s.offset;
    a.branch = branch_;
    switch (s.kind) {
      case StmtKind::ReduceInto: a.stride = s.lane_stride; [[fallthrough]];
      case StmtKind::LoadArray:
      case StmtKind::LoadPiece:
      case StmtKind::StoreArray:
        if (stage_.arrays[static_cast<size_t>(s.buffer)].space != loop::Space::shared) return;
        a.place = {true, s.buffer};
        a.store = s.kind == StmtKind::StoreArray || s.kind == StmtKind::ReduceInto;
        break;
      case StmtKind::CopyAsync:
        a.place = {true, s.array};
        a.at = s.place;
        a.store = a.copy = true;
        break;
      case StmtKind::Load:
      case StmtKind::Store:
      case StmtKind::LoadBlock:
      case StmtKind::StoreBlock:
        if (!changing_.count(s.buffer)) return;
        a.place = {false, s.buffer};
        a.store = s.kind == StmtKind::Store || s.kind == StmtKind::StoreBlock;
        a.stride = s.lane_stride;
        break;
      default: return;
    }
    const bool block = s.kind == StmtKind::LoadBlock || s.kind == StmtKind::StoreBlock;
    if (block && !s.lane_stride)
      a.stride = loop::constant(s.kind == StmtKind::LoadBlock ? s.columns : static_cast<int64_t>(s.args.size()));
    const bool own = a.stride || differs_between_lanes(a.at) || differs_between_lanes(s.below);
    a.who = s.kind == StmtKind::ReduceInto ? Who::groups : own ? Who::lanes : a.store ? Who::first : Who::all;
    found.push_back(a);
  }

  bool one_lane_a_thread() const { return stage_.pieces == 1 && stage_.teams == 1; }

  /// Whether the two can only meet at an element that one thread touches. Lanes keep their elements: a row of lanes
  /// lies in memory where its dimension does, so that equal offsets give an element the same thread at any time; but
  /// not where several threads are one lane.
  bool same_thread(const Access& a, const Access& b) const {
    if (a.who == Who::spread && b.who == Who::lanes) return same_thread(b, a);
    if (a.who == Who::lanes && b.who == Who::spread) return one_lane_a_thread() && is_spread_lanes(a, b);
    if (a.who != b.who || a.who == Who::all || a.who == Who::team) return false;
    if (a.who == Who::first) return true;
    if (a.who == Who::groups) return is_same(a.stride, b.stride) && is_same(a.at, b.at);
    if (a.who == Who::lanes) return one_lane_a_thread() && is_same(a.stride, b.stride) && is_same(a.at, b.at);
    if (a.loop == b.loop) return !a.moves && is_same(a.at, b.at);
    // Two loops: equal elements of equal iterations, and of no others.
    return a.first == b.first && step_of(a) != 0 && step_of(b) != 0 &&
           is_same(substitute(a.at, {{a.loop, loop::variable(b.loop)}}), b.at);
  }

  /// How far apart the elements of neighbouring iterations lie; 0: not known, or not always the same.
  static int64_t step_of(const Access& spread) {
    if (!spread.alone) return 0;
    const auto found = factors(spread.at, {spread.loop});
    return found && found->count(spread.loop) ? found->at(spread.loop) : 0;
  }

  /// Whether each iteration has the element of the lane with its number.
  bool is_spread_lanes(const Access& lanes, const Access& spread) const {
    const auto most = upper_bound(spread.end, {});
    int64_t stride = 0;
    return spread.first == 0 && step_of(spread) != 0 && is_constant(lanes.stride, &stride) &&
           stride == step_of(spread) && most && *most <= width_ &&
           is_same(substitute(spread.at, {{spread.loop, loop::constant(0)}}), lanes.at);
  }

  bool conflict(const Pending& pending, const Pending& accesses) const {
    return std::any_of(accesses.begin(), accesses.end(), [&](const Access& a) {
      return std::any_of(pending.begin(), pending.end(), [&](const Access& p) {
        return p.place == a.place && (p.store || a.store) && !(p.copy && a.copy) && !same_thread(p, a);
      });
    });
  }

  static void add(Pending& pending, const Pending& more) {
    for (const Access& a : more) {
      const bool known = std::any_of(pending.begin(), pending.end(), [&](const Access& p) {
        return p.place == a.place && p.store == a.store && p.who == a.who && p.loop == a.loop && p.branch == a.branch &&
               is_same(p.at, a.at) && (p.stride == a.stride || is_same(p.stride, a.stride));
      });
      if (!known) pending.push_back(a);
    }
  }

  loop::Stage& stage_;
  const int width_;
  std::set<int> changing_;  // buffers that are both stored to and loaded; what is only stored is stored once
  loop::Var loop_ = -1;     // around the statement
  std::optional<Branch> branch_;  // in which it stands
  size_t placed_ = 0;
};

}  // namespace

void place_barriers(loop::Stage& stage, int width) {
  BarrierPlacer(stage, width).run();
}

loop::Kernel for_threads(loop::Kernel kernel, int64_t shared_bytes) {
  for (loop::Stage& stage : kernel.stages) {
    const int64_t left = share_arrays(stage, kernel.schedule.width, shared_bytes);
    spread_loops(stage);
    if (kernel.schedule.copies_ahead > 0) copy_tiles_ahead(kernel, stage, left);
    if (kernel.schedule.tiles_ahead > 0) fetch_tiles_ahead(kernel, stage);
    place_barriers(stage, threads_of(kernel, stage));
    spread_over_banks(stage);
    if (kernel.schedule.begins_early) begin_early(kernel, stage);
  }
  return kernel;
}

}  // namespace mambac
