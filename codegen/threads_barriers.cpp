// Where the threads of a task wait for each other.
#include <algorithm>
#include <iterator>
#include <set>

#include "codegen/loop_rewrite.h"
#include "codegen/threads.h"

namespace mambac {

namespace {

using loop::Block;
using loop::Int;
using loop::Stmt;
using loop::StmtKind;

/// Who makes an access: every thread the same one, the first thread, each thread its own, or the thread to which an
/// iteration of a loop was given.
enum class Who : uint8_t { all, first, lanes, spread };

struct Access {
  std::pair<bool, int> place;  // array or buffer, and its number
  bool store = false;
  Who who = Who::all;
  Int at, stride;
  loop::Var loop = -1;  // of the loop that was shared out
  bool moves = false;   // the element of an iteration changes with loops around that one
};

class BarrierPlacer {
 public:
  explicit BarrierPlacer(loop::Stage& stage) : stage_(stage) {}

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
    if (s.body.empty() || s.spread) return true;
    BarrierPlacer trial(*this);
    Stmt copy = s;
    Pending none;
    trial.nested(copy, none);
    return trial.placed_ == placed_;
  }

  void nested(Stmt& s, Pending& pending) {
    if (s.kind == StmtKind::If) {
      Pending otherwise = pending;
      block(s.body, pending);
      block(s.otherwise, otherwise);
      add(pending, otherwise);
      return;
    }
    // What an iteration leaves pending meets the next one; barriers already placed clear it again.
    const Pending before = pending;
    for (size_t barriers = 0, known = 0;;) {
      block(s.body, pending);
      add(pending, before);
      if (barriers == placed_ && pending.size() == known) return;
      barriers = placed_;
      known = pending.size();
    }
  }

  Pending accesses_of(const Stmt& s) const {
    Pending found;
    add_access(s, found);
    for (const Block* block : {&s.body, &s.otherwise})
      for (const Stmt& inner : *block) add(found, accesses_of(inner));
    if (!s.spread) return found;
    std::set<loop::Var> own{s.var};
    own_loops(s.body, own);
    for (Access& a : found) {
      const std::set<loop::Var> used = variables(a.at);
      a.who = Who::spread;
      a.loop = s.var;
      a.moves = !std::includes(own.begin(), own.end(), used.begin(), used.end());
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
    switch (s.kind) {
      case StmtKind::ReduceInto: a.stride = s.lane_stride; [[fallthrough]];
      case StmtKind::LoadArray:
      case StmtKind::LoadPiece:
      case StmtKind::StoreArray:
        if (stage_.arrays[static_cast<size_t>(s.buffer)].space != loop::Space::shared) return;
        a.place = {true, s.buffer};
        a.store = s.kind == StmtKind::StoreArray || s.kind == StmtKind::ReduceInto;
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
    if (block) a.stride = loop::constant(s.kind == StmtKind::LoadBlock ? s.columns : static_cast<int64_t>(s.args.size()));
    a.who = a.stride ? Who::lanes : a.store ? Who::first : Who::all;
    found.push_back(a);
  }

  /// Whether the two can only meet at an element that one thread touches. Lanes keep their elements: a row of lanes
  /// lies in memory where its dimension does, so that equal offsets give an element the same thread at any time.
  static bool same_thread(const Access& a, const Access& b) {
    if (a.who != b.who || a.who == Who::all) return false;
    if (a.who == Who::first) return true;
    if (a.who == Who::lanes) return is_same(a.stride, b.stride) && is_same(a.at, b.at);
    return a.loop == b.loop && !a.moves && is_same(a.at, b.at);
  }

  static bool conflict(const Pending& pending, const Pending& accesses) {
    return std::any_of(accesses.begin(), accesses.end(), [&](const Access& a) {
      return std::any_of(pending.begin(), pending.end(), [&](const Access& p) {
        return p.place == a.place && (p.store || a.store) && !same_thread(p, a);
      });
    });
  }

  static void add(Pending& pending, const Pending& more) {
    for (const Access& a : more) {
      const bool known = std::any_of(pending.begin(), pending.end(), [&](const Access& p) {
        return p.place == a.place && p.store == a.store && p.who == a.who && p.loop == a.loop && is_same(p.at, a.at) &&
               (p.stride == a.stride || is_same(p.stride, a.stride));
      });
      if (!known) pending.push_back(a);
    }
  }

  loop::Stage& stage_;
  std::set<int> changing_;  // buffers that are both stored to and loaded; what is only stored is stored once
  size_t placed_ = 0;
};

}  // namespace

void place_barriers(loop::Stage& stage) { BarrierPlacer(stage).run(); }

void share_arrays(loop::Stage& stage, int64_t shared_bytes) {
  for (loop::Array& array : stage.arrays) {
    const int64_t bytes = array.count * static_cast<int64_t>(sizeof(float));
    if (array.lanes || array.space != loop::Space::scratch || bytes > shared_bytes) continue;
    array.space = loop::Space::shared;
    shared_bytes -= bytes;
  }
}

loop::Kernel for_threads(loop::Kernel kernel, int64_t shared_bytes) {
  for (loop::Stage& stage : kernel.stages) {
    share_arrays(stage, shared_bytes);
    spread_loops(stage);
    place_barriers(stage);
  }
  return kernel;
}

}  // namespace mambac
