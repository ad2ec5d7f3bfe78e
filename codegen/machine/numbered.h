// Statements of a kernel as lines of a text, for code whose compiler is given loop IR and no text.
#pragma once

#include <vector>

#include "codegen/loop_ir.h"
#include "codegen/machine/nest.h"

namespace mambac::machine {

/// Gives each statement a number as its origin: that of its line less one, in the order in which they stand, over all
/// stages; an `else` is a line, too. Stages have no origin then. The nest of each stage, by these lines, with one task
/// as a loop around all of it.
std::vector<Nest> number_statements(loop::Kernel& kernel);

}  // namespace mambac::machine
