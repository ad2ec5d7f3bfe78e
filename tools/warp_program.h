// What a warp issues from the start of a kernel to its end: its machine code in the order in which it runs.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/cuda/machine_code.h"

namespace mambac::tools {

/// What an instruction occupies.
enum class Pipe : uint8_t {
  none,     // control flow, uniform registers
  fma,      // f32 arithmetic
  integer,  // integers, comparisons, conversions
  special,  // the special-function unit
  access,   // shared, local and global memory, exchange between lanes
};

/// What an instruction's result comes from, where the assembler does not know when.
enum class Answer : uint8_t { soon, special, exchange, shared, l1, l2, memory };

struct WarpStep {
  machine::IssueControl control;
  Pipe pipe = Pipe::none;
  Answer answer = Answer::soon;
  int bytes = 0;          // access: of a thread
  bool global = false;    // access: of memory that all blocks see
  bool prefetch = false;  // access: brings a line near that a later iteration loads
  bool barrier = false;   // waits for the block's other warps
};

/// Steps that run several times; those within others come first.
struct WarpLoop {
  size_t begin = 0, end = 0;
  double trips = 1;  // each time that it is come to
};

struct WarpProgram {
  std::vector<WarpStep> steps;
  std::vector<WarpLoop> loops;
  double share = 1;         // of all instructions of a thread, those that are steps
  double global_bytes = 0;  // that a thread loads and stores
};

/// `runs`: of each instruction (instruction_runs). What runs in fewer than half of the iterations around it is left
/// out, and lowers the share.
WarpProgram warp_program(const machine::Function& function, const std::vector<double>& runs);

}  // namespace mambac::tools
