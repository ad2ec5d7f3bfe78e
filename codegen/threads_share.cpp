// Which arrays the threads of a task share.
#include <set>

#include "codegen/loop_rewrite.h"
#include "codegen/threads.h"
#include "ir/error.h"

namespace mambac {

namespace {

using loop::Block;
using loop::Stmt;
using loop::StmtKind;

/// Sums of groups of lanes are stored by one thread of each group and loaded by all of them.
void find_group_sums(const Block& statements, std::set<int>& arrays) {
  for (const Stmt& s : statements) {
    if (s.kind == StmtKind::ReduceInto) arrays.insert(s.buffer);
    find_group_sums(s.body, arrays);
    find_group_sums(s.otherwise, arrays);
  }
}

/// What each team of a task stores at the same place, each for itself.
void find_private(const Block& statements, const Stmt* team_loop, std::set<int>& arrays) {
  for (const Stmt& s : statements) {
    if (team_loop && s.kind == StmtKind::StoreArray && !variables(s.offset).count(team_loop->var))
      arrays.insert(s.buffer);
    find_private(s.body, s.teams ? &s : team_loop, arrays);
    find_private(s.otherwise, team_loop, arrays);
  }
}

/// Every thread stores for itself: the sums over all lanes of a piece in the first group's place, 0 in the others'.
class WholeSums {
 public:
  WholeSums(loop::Stage& stage, const Stmt& sums, int width) : stage_(stage), sums_(sums), width_(width) {}

  Block made() {
    none_ = number(0);
    made_.back().comment = sums_.comment;
    const bool pieces = differs_between_lanes(sums_.offset);
    for (int64_t piece = 0; piece < (pieces ? stage_.pieces : 1); ++piece)
      for (size_t k = 0; k < sums_.args.size(); ++k) {
        const loop::Value value = pieces ? of_piece(sums_.args[k], piece) : sums_.args[k];
        const loop::Int at = with_piece(sums_.offset, loop::constant(piece)) + static_cast<int64_t>(k) * sums_.step;
        store(at, define(StmtKind::Reduce, Op::Sum, {value}));
        for (int group = 1; group < width_ / loop::kReduceGroup; ++group)
          store(at + sums_.lane_stride * loop::constant(group), none_);
      }
    return std::move(made_);
  }

 private:
  Stmt& append(StmtKind kind) {
    Stmt& s = made_.emplace_back();
    s.kind = kind;
    s.origin = sums_.origin;
    return s;
  }
  loop::Value define(StmtKind kind, Op op, std::vector<loop::Value> args) {
    Stmt& s = append(kind);
    s.op = op;
    s.args = std::move(args);
    return s.result = stage_.values++;
  }
  loop::Value number(double value) {
    const loop::Value result = define(StmtKind::Number, Op::Neg, {});
    made_.back().number = value;
    return result;
  }
  /// The value in the lanes with this piece, 0 in the others.
  loop::Value of_piece(loop::Value value, int64_t piece) {
    const loop::Value own = define(StmtKind::Index, Op::Neg, {});
    made_.back().offset = loop::piece(stage_.pieces);
    return define(StmtKind::Apply, Op::Select,
                  {define(StmtKind::Apply, Op::Eq, {own, number(static_cast<double>(piece))}), value, none_});
  }
  void store(const loop::Int& at, loop::Value value) {
    Stmt& s = append(StmtKind::StoreArray);
    s.buffer = sums_.buffer;
    s.offset = at;
    s.args = {value};
  }

  loop::Stage& stage_;
  const Stmt& sums_;
  const int width_;
  Block made_;
  loop::Value none_ = -1;
};

void replace_unshared_sums(loop::Stage& stage, Block& statements, int width) {
  for (size_t i = 0; i < statements.size(); ++i) {
    replace_unshared_sums(stage, statements[i].body, width);
    replace_unshared_sums(stage, statements[i].otherwise, width);
    if (statements[i].kind != StmtKind::ReduceInto ||
        stage.arrays[static_cast<size_t>(statements[i].buffer)].space == loop::Space::shared)
      continue;
    const Block made = WholeSums(stage, statements[i], width).made();
    const auto at = statements.erase(statements.begin() + static_cast<std::ptrdiff_t>(i));
    statements.insert(at, made.begin(), made.end());
    i += made.size() - 1;
  }
}

}  // namespace

int64_t share_arrays(loop::Stage& stage, int width, int64_t shared_bytes) {
  std::set<int> sums, own;
  find_group_sums(stage.body, sums);
  find_private(stage.body, nullptr, own);
  for (const bool first : {true, false}) {  // group sums cost most where they have no room
    for (size_t i = 0; i < stage.arrays.size(); ++i) {
      loop::Array& array = stage.arrays[i];
      const int64_t bytes = array.count * static_cast<int64_t>(sizeof(float));
      const bool turn = (sums.count(static_cast<int>(i)) > 0) == first;
      if (!turn || array.lanes || own.count(static_cast<int>(i)) || array.space != loop::Space::scratch ||
          bytes > shared_bytes)
        continue;
      array.space = loop::Space::shared;
      shared_bytes -= bytes;
    }
  }
  replace_unshared_sums(stage, stage.body, width);
  return shared_bytes;
}

}  // namespace mambac
