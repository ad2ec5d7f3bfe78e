// How many instructions a kernel issues, counted in its machine code.
//
// Each basic block is counted as often as it runs, which follows from where it lies: a loop of the machine code is the
// loop of the emitted text that most of its instructions come from, and the number of its iterations, like the outcome
// of branches, from the loop IR at given sizes. Every instruction takes one issue slot of a thread, predicated or not,
// those for the special-function unit too (its own rate is counted apart). Blocks that call a function of the
// assembler's own behind a branch, such as division of 64-bit numbers above 2^32, are taken for rare and count nothing.
// Both ways of a branch that is the compiler's and not the text's count as often as what leads to them.
#pragma once

#include "codegen/cuda/nest.h"
#include "runtime/cuda/machine_code.h"

namespace mambac::cuda {

struct SlotCount {
  double slots = 0;    // instructions
  double special = 0;  // of which for the special-function unit

  SlotCount& operator+=(const SlotCount& other);
  SlotCount operator*(double factor) const { return {slots * factor, special * factor}; }
};

/// Of one thread in a task that runs as `runs` says. `first_line`: the line of the source that is the nest's line 1.
SlotCount count_slots(const MachineFunction& function, const cuda_emit::Nest& nest, const cuda_emit::NestRuns& runs,
                      int first_line);

}  // namespace mambac::cuda
