#include "codegen/tile_loops.h"

#include <map>
#include <utility>

#include "codegen/loop_rewrite.h"

namespace mambac {

using loop::Block;
using loop::Int;
using loop::Stmt;
using loop::StmtKind;
using loop::Var;

namespace {

bool is_tiles(const Stmt& s) {
  return !s.unroll && !s.spread && s.step == 1 && s.body.size() == 1 && s.body[0].kind == StmtKind::If &&
         s.body[0].once;
}

}  // namespace

void TileLoops::each(const Rewrite& rewrite) {
  each(stage_.body, rewrite);
}

void TileLoops::each(Block& statements, const Rewrite& rewrite) {
  for (size_t i = 0; i < statements.size(); ++i) {
    Stmt& s = statements[i];
    if (s.kind != StmtKind::For) continue;
    Block first;
    scope_.push_back(s.var);
    if (is_tiles(s))
      first = rewrite(s, scope_);
    else
      each(s.body, rewrite);
    scope_.pop_back();
    statements.insert(statements.begin() + static_cast<std::ptrdiff_t>(i), first.begin(), first.end());
    i += first.size();
  }
}

Stmt TileLoops::when_whole(const Stmt& tiles, const Int& tile, const Block& statements) {
  const std::map<Var, Int> there{{tiles.var, tile}};
  Stmt inner;
  inner.kind = StmtKind::If;
  inner.origin = tiles.origin;
  inner.begin = substitute(tiles.body[0].begin, there);
  inner.end = substitute(tiles.body[0].end, there);
  inner.body = statements;
  substitute(inner.body, there);
  Stmt outer;
  outer.kind = StmtKind::If;
  outer.origin = tiles.origin;
  outer.begin = tile;
  outer.end = tiles.end;
  outer.body = {std::move(inner)};
  return fresh(outer);
}

Block TileLoops::for_later_tile(const Stmt& tiles, int64_t further, const Block& statements) {
  const Int tile = loop::variable(tiles.var), later = tile + further;
  const std::map<Var, Int> there{{tiles.var, later}};
  const Int exists = less(later, tiles.end) *
                     less(substitute(tiles.body[0].begin, there), substitute(tiles.body[0].end, there));
  Block moved = statements;
  substitute(moved, {{tiles.var, tile + exists * further}});
  for (Stmt& s : moved) s = fresh(std::move(s));
  return moved;
}

Stmt TileLoops::fresh(Stmt s) {
  if (s.kind == StmtKind::For) {
    const Var var = stage_.vars++;
    substitute(s.body, {{s.var, loop::variable(var)}});
    s.var = var;
  }
  for (Stmt& inner : s.body) inner = fresh(std::move(inner));
  return s;
}

}  // namespace mambac
