// How often the instructions of a stage's machine code run.
//
// Each basic block runs as often as follows from where it lies. What comes behind a block whatever happens runs as
// often as that. A loop of the machine code is the loop of the text that most of its instructions come from, and one
// way behind a branch is the side of the text's branch that they come from; the number of iterations and the outcome of
// branches are those of the loop IR at given sizes. Of a branch that is the compiler's own both ways count, unless one
// calls a function of the assembler's, such as division of 64-bit numbers above 2^32: that is taken for rare and counts
// nothing.
#pragma once

#include <vector>

#include "codegen/machine/instruction.h"
#include "codegen/machine/nest.h"

namespace mambac::machine {

/// Of each instruction, in one task that runs as `runs` says (on a GPU: per thread). `first_line`: the line of the
/// source that is the nest's line 1.
std::vector<double> instruction_runs(const Function& function, const Nest& nest, const NestRuns& runs, int first_line);

}  // namespace mambac::machine
