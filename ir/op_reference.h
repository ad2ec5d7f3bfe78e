// The reference page of all ops, generated from the op table.
#pragma once

#include <string>

namespace mambac {

std::string op_reference_markdown();

}  // namespace mambac
