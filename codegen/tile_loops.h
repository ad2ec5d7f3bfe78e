// The loops over the tiles of a walk, for passes that bring near what a later tile needs.
#pragma once

#include <functional>
#include <vector>

#include "codegen/loop_ir.h"

namespace mambac {

class TileLoops {
 public:
  explicit TileLoops(loop::Stage& stage) : stage_(stage) {}

  /// Calls rewrite for every loop over tiles, whose whole tiles are one side of a branch, with the variables of the
  /// loops around it and its own. What it returns is put before the loop.
  using Rewrite = std::function<loop::Block(loop::Stmt& tiles, const std::vector<loop::Var>& scope)>;
  void each(const Rewrite& rewrite);

  /// if (tile < end) if (it is whole) the statements, as they are for that tile
  loop::Stmt when_whole(const loop::Stmt& tiles, const loop::Int& tile, const loop::Block& statements);
  /// The statements as they are for the tile that is so many further on, if it is whole, else for this tile, which is:
  /// without a branch, in which nothing else could be computed while its condition is on its way.
  loop::Block for_later_tile(const loop::Stmt& tiles, int64_t further, const loop::Block& statements);
  /// A copy with loop variables of its own.
  loop::Stmt fresh(loop::Stmt s);

 private:
  void each(loop::Block& statements, const Rewrite& rewrite);

  loop::Stage& stage_;
  std::vector<loop::Var> scope_;
};

}  // namespace mambac
