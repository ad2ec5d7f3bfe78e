// The order of instructions within a block of LLVM IR, for processors whose pipes wait for each other.
#pragma once

#include <llvm/IR/Module.h>

namespace mambac {

/// Orders the instructions of every block as two pipes would take them, one that multiplies and one that adds, each the
/// first of the next `window` that is ready; and keeps this order from LLVM's scheduler, which runs for few registers.
/// A small window mixes independent iterations that are written out one after the other, a large one needs registers
/// for as many of them.
void interleave(llvm::Module& module, int window);

}  // namespace mambac
