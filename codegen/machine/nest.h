// Which lines of a stage's text are in which of its loops and branches, and how often these run.
#pragma once

#include <cstdint>
#include <vector>

#include "codegen/loop_ir.h"

namespace mambac::machine {

/// The whole stage, a loop, or one side of a branch.
struct NestNode {
  enum Kind : uint8_t { stage, loop, taken, otherwise };
  Kind kind = stage;
  int parent = -1;          // index of the node around it, which comes before it
  int first = 0, last = 0;  // lines of the text, both included; the first line of a text is 1
  loop::Var var = -1;       // loop: for (var = begin; var < end; var += step)
  loop::Int begin, end;     // loop: its bounds; branch: taken when begin < end
  int64_t step = 1;
  bool written_out = false;  // loop: the compiler is told to write out all iterations
};

/// How often each node runs, per thread of one task.
struct NestRuns {
  std::vector<double> runs;   // of the body
  std::vector<double> trips;  // loop: iterations each time it is come to; other nodes: 1
};

/// The loops and branches of one stage; the first node is the stage itself.
struct Nest {
  std::vector<NestNode> nodes;

  /// The innermost node that has the line; -1 when the stage has not.
  int at(int line) const;
  /// Runs for given sizes (as loop::Kernel::sizes) and one task: loops whose variable decides about others within are
  /// walked, the rest is multiplied. Of loops that are spread over the threads, those of thread 0 count.
  NestRuns count(loop::Var task, int64_t task_number, const std::vector<int64_t>& sizes) const;
};

}  // namespace mambac::machine
