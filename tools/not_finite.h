// Where the first NaN or infinity comes from.
#pragma once

#include <string>

#include "ir/eval.h"
#include "runtime/program.h"

namespace mambac::tools {

/// Runs a bound executable of the program once more, kernel by kernel, and says where the first value is made that is
/// not finite although all that it is made of is: place in the definition, op, name, index, and the operands' numbers
/// there. The kernel that stores the first such value is compiled once more by itself with all its values stored, since
/// most exist within it only. Of an input or parameter that is not finite itself, this is said. "": all is finite.
std::string find_not_finite(const Program& program, Executable& executable, const Bindings& sizes);

/// The same of a graph in float64, by the interpreter.
std::string find_not_finite(const Graph& graph, const Bindings& sizes, const Arrays& values);

}  // namespace mambac::tools
