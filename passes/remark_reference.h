// The reference page of all remarks, generated from their table.
#pragma once

#include <string>

namespace mambac {

std::string remark_reference_markdown();

}  // namespace mambac
