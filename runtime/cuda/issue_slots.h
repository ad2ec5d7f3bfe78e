// How many instructions a kernel issues, counted in its machine code.
//
// Each basic block is counted as often as it runs, which follows from where it lies. What comes behind a block whatever
// happens runs as often as that. A loop of the machine code is the loop of the emitted text that most of its
// instructions come from, and one way behind a branch is the side of the text's branch that they come from; the number
// of iterations and the outcome of branches are those of the loop IR at given sizes. Of a branch that is the compiler's
// own both ways count, unless one calls a function of the assembler's, such as division of 64-bit numbers above 2^32:
// that is taken for rare and counts nothing.
//
// Every instruction takes one issue slot of a thread, predicated or not, those for the special-function unit too, whose
// own rate is counted apart.
#pragma once

#include <vector>

#include "codegen/cuda/nest.h"
#include "runtime/cuda/machine_code.h"

namespace mambac::cuda {

struct SlotCount {
  double slots = 0;    // instructions
  double special = 0;  // of which for the special-function unit

  SlotCount& operator+=(const SlotCount& other);
  SlotCount operator*(double factor) const { return {slots * factor, special * factor}; }
};

/// How often each instruction runs, per thread of a task that runs as `runs` says. `first_line`: the line of the source
/// that is the nest's line 1.
std::vector<double> instruction_runs(const MachineFunction& function, const cuda_emit::Nest& nest,
                                     const cuda_emit::NestRuns& runs, int first_line);

/// Of one thread whose instructions run so often.
SlotCount count_slots(const MachineFunction& function, const std::vector<double>& runs);
SlotCount count_slots(const MachineFunction& function, const cuda_emit::Nest& nest, const cuda_emit::NestRuns& runs,
                      int first_line);

}  // namespace mambac::cuda
