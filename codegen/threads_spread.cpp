// Loops over uniform values, shared out among the threads of a task.
#include <algorithm>

#include "codegen/loop_rewrite.h"
#include "codegen/threads.h"
#include "ir/error.h"

namespace mambac {

namespace {

using loop::Block;
using loop::Int;
using loop::Stmt;
using loop::StmtKind;
using loop::Var;

struct ArrayAccess {
  bool array = false;  // else a buffer
  int number = -1;
  Int at;
  bool operator==(const ArrayAccess& other) const { return array == other.array && number == other.number; }
};

/// What the statements below a loop do.
struct Facts {
  bool uniform = true;  // and no control flow but loops, and no store that other threads could not see
  std::vector<ArrayAccess> stores, loads;
  std::map<Var, const Stmt*> loops;
};

/// A perfect nest, `nest[0]` outermost, around a body.
struct Nest {
  std::vector<const Stmt*> loops;
  const Block* body = nullptr;
};

class Spreader {
 public:
  explicit Spreader(loop::Stage& stage) : stage_(stage) {}
  void run() { block(stage_.body); }

 private:
  void block(Block& statements) {
    for (Stmt& s : statements) {
      if (s.teams) continue;  // whose threads are those of one team
      if (s.kind == StmtKind::For && spread(s)) continue;
      block(s.body);
      block(s.otherwise);
    }
  }

  bool is_shared(int array) const {
    return stage_.arrays[static_cast<size_t>(array)].space == loop::Space::shared;
  }

  void collect(const Block& statements, Facts& facts) const {
    for (const Stmt& s : statements) {
      switch (s.kind) {
        case StmtKind::For:
          facts.loops[s.var] = &s;
          collect(s.body, facts);
          break;
        case StmtKind::Number:
        case StmtKind::Index:
        case StmtKind::Apply: break;
        case StmtKind::Load: facts.loads.push_back({false, s.buffer, s.offset}); break;
        case StmtKind::Store: facts.stores.push_back({false, s.buffer, s.offset}); break;
        case StmtKind::LoadArray: facts.loads.push_back({true, s.buffer, s.offset}); break;
        case StmtKind::StoreArray:
          facts.stores.push_back({true, s.buffer, s.offset});
          facts.uniform &= is_shared(s.buffer);
          break;
        default: facts.uniform = false;
      }
      facts.uniform &=
          !s.lane_stride && !differs_between_lanes(s.offset) && !(s.kind == StmtKind::LoadArray && is_lanes(s.buffer));
    }
  }

  bool is_lanes(int array) const { return stage_.arrays[static_cast<size_t>(array)].lanes; }

  static Nest nest_of(const Stmt& loop) {
    Nest nest{{&loop}, &loop.body};
    while (nest.body->size() == 1 && nest.body->front().kind == StmtKind::For) {
      nest.loops.push_back(&nest.body->front());
      nest.body = &nest.body->front().body;
    }
    return nest;
  }

  /// Rewrites the loop when its iterations can be shared out.
  bool spread(Stmt& outermost) {
    const Nest nest = nest_of(outermost);
    Facts facts;
    for (const Stmt* s : nest.loops) facts.loops[s->var] = s;
    collect(*nest.body, facts);
    if (!facts.uniform || facts.stores.empty() || !touches_own_elements(facts)) return false;
    const std::vector<const Stmt*> chosen = spreadable(nest, facts);
    if (chosen.empty() || !are_distinct(facts)) return false;
    Stmt made = flattened(nest, in_order_of_memory(chosen, facts));
    int64_t count = 0;
    if (is_constant(made.end, &count) && count <= 1) return false;
    outermost = std::move(made);
    return true;
  }

  /// Every place that is stored to is touched under one index only: an iteration sees what itself stored, if anything.
  static bool touches_own_elements(const Facts& facts) {
    for (const ArrayAccess& store : facts.stores)
      for (const auto* others : {&facts.stores, &facts.loads})
        for (const ArrayAccess& other : *others)
          if (other == store && !is_same(other.at, store.at)) return false;
    return true;
  }

  /// The loops of a nest whose variables are in the indices of all stores, and whose bounds depend on none of the nest.
  static std::vector<const Stmt*> spreadable(const Nest& nest, const Facts& facts) {
    std::set<Var> all;
    for (const auto& [var, loop] : facts.loops) all.insert(var);
    std::vector<const Stmt*> chosen;
    for (const Stmt* s : nest.loops) {
      for (const Int& bound : {s->begin, s->end})
        for (Var v : variables(bound))
          if (all.count(v)) return {};
      const bool everywhere = std::all_of(facts.stores.begin(), facts.stores.end(), [&](const ArrayAccess& store) {
        const auto found = factors(store.at, all);
        return found && found->count(s->var);
      });
      if (everywhere) chosen.push_back(s);
    }
    return chosen;
  }

  /// Whether different values of the variables of an index give different elements: each variable's stride must be
  /// longer than what all those with shorter strides span.
  static bool are_distinct(const Facts& facts) {
    std::set<Var> all;
    for (const auto& [var, loop] : facts.loops) all.insert(var);
    return std::all_of(facts.stores.begin(), facts.stores.end(), [&](const ArrayAccess& store) {
      const auto found = factors(store.at, all);
      if (!found) return false;
      std::vector<std::pair<int64_t, Var>> digits;
      for (const auto& [var, k] : *found) digits.emplace_back(k < 0 ? -k : k, var);
      std::sort(digits.begin(), digits.end());
      int64_t span = 0;
      for (size_t i = 0; i < digits.size(); ++i) {
        const Stmt& loop = *facts.loops.at(digits[i].second);
        if (digits[i].first * loop.step <= span) return false;
        if (i + 1 == digits.size()) break;
        const std::optional<int64_t> extent = upper_bound(loop.end - loop.begin, {});
        if (!extent) return false;
        span += digits[i].first * std::max<int64_t>(*extent - 1, 0);
      }
      return true;
    });
  }

  /// Neighbouring threads should load neighbouring memory: the loop with the shortest stride first.
  static std::vector<const Stmt*> in_order_of_memory(std::vector<const Stmt*> loops, const Facts& facts) {
    std::set<Var> all;
    for (const Stmt* s : loops) all.insert(s->var);
    std::map<Var, int64_t> strides;
    for (const auto* accesses : {&facts.loads, &facts.stores})
      for (const ArrayAccess& a : *accesses) {
        const auto found = factors(a.at, all);
        if (a.array || !found || found->size() != loops.size() || !strides.empty()) continue;
        strides = *found;
      }
    if (strides.empty()) strides = factors(facts.stores[0].at, all).value();
    std::stable_sort(loops.begin(), loops.end(), [&](const Stmt* a, const Stmt* b) {
      return std::abs(strides.at(a->var) * a->step) < std::abs(strides.at(b->var) * b->step);
    });
    return loops;
  }

  /// One loop in the place of the chosen ones, the first of which runs fastest; the others are inside.
  Stmt flattened(const Nest& nest, const std::vector<const Stmt*>& chosen) {
    Stmt made;
    made.kind = StmtKind::For;
    made.var = stage_.vars++;
    made.begin = loop::constant(0);
    made.spread = true;
    made.first = nest.loops[0]->first;
    made.comment = nest.loops[0]->comment;
    made.origin = nest.loops[0]->origin;
    std::map<Var, Int> by;
    Int rest = loop::variable(made.var), total = loop::constant(1);
    for (size_t i = 0; i < chosen.size(); ++i) {
      const Stmt& s = *chosen[i];
      const Int count = (s.end - s.begin + (s.step - 1)) / s.step;
      by[s.var] = s.begin + (i + 1 < chosen.size() ? rest % count : rest) * s.step;
      rest = rest / count;
      total = total * count;
    }
    made.end = total;
    Block* inside = &made.body;
    for (const Stmt* s : nest.loops) {
      if (by.count(s->var)) continue;
      Stmt kept = *s;
      kept.body.clear();
      inside->push_back(std::move(kept));
      inside = &inside->back().body;
    }
    *inside = *nest.body;
    substitute(made.body, by);
    return made;
  }

  loop::Stage& stage_;
};

}  // namespace

void spread_loops(loop::Stage& stage) { Spreader(stage).run(); }

}  // namespace mambac
