// Text of an integer expression, for dumps and for emitted source.
#pragma once

#include <string>
#include <vector>

#include "codegen/loop_ir.h"

namespace mambac::loop {

/// The expression in C syntax; a variable k is written ik, a size by its name.
std::string str(const Int& a, const std::vector<std::string>& sizes);

}  // namespace mambac::loop
