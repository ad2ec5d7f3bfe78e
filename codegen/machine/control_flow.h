// The basic blocks of a function of machine code: what leads to what, and which of them are loops.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "codegen/machine/instruction.h"

namespace mambac::machine {

/// Instructions that run one after another: their indices.
struct BasicBlock {
  size_t begin = 0, end = 0;
};

/// A loop of the machine code: the blocks that branches back to one of them close.
struct Loop {
  size_t head = 0;
  std::set<size_t> blocks;
};

/// Blocks are named by their index; the first one is the function's start.
class ControlFlow {
 public:
  /// The instructions, one at least, must outlive it.
  explicit ControlFlow(const std::vector<Instruction>& code);

  size_t count() const { return blocks_.size(); }
  const BasicBlock& block(size_t b) const { return blocks_[b]; }
  /// Blocks that lead to this one, and how many it leads to.
  const std::vector<size_t>& before(size_t b) const { return before_[b]; }
  size_t ways_on(size_t b) const { return next_[b].size(); }
  /// Those that the start leads to, each behind all that dominate it.
  const std::vector<size_t>& order() const { return order_; }
  /// Those within others first.
  const std::vector<Loop>& loops() const { return loops_; }
  /// The indices of the loops that have the block.
  const std::vector<size_t>& loops_of(size_t b) const { return loops_of_[b]; }

  /// Every way from the start to b passes a.
  bool dominates(size_t a, size_t b) const { return passed_before_[b][a]; }
  /// The last of the other blocks that every way to b passes; itself when it is the start.
  size_t dominator(size_t b) const { return dominator_[b]; }
  /// Every way from b to an end of the function passes a.
  bool always_follows(size_t a, size_t b) const { return passed_behind_[b][a]; }

  bool calls(size_t b) const;
  /// All blocks of the function that this one calls.
  std::vector<size_t> called(size_t b) const;

 private:
  /// For each place, those that every way to it passes, itself included.
  using Passed = std::vector<std::vector<bool>>;
  using Ways = std::vector<std::vector<size_t>>;

  static Passed passed(const Ways& before, const std::vector<size_t>& order);
  static std::vector<size_t> reached(const Ways& next, size_t from);

  void make_blocks();
  void connect(size_t b);
  void find_dominators();
  void find_ends();
  void find_loops();
  void add_body(Loop& loop, size_t head, size_t last) const;

  const std::vector<Instruction>& code_;
  std::vector<BasicBlock> blocks_;
  Ways next_, before_;
  std::map<size_t, size_t> block_at_;  // by first instruction
  std::vector<size_t> order_, dominator_;
  Passed passed_before_, passed_behind_;
  std::vector<Loop> loops_;
  Ways loops_of_;
};

}  // namespace mambac::machine
