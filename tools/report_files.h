// The files of tools/report/, which every build carries within itself.
#pragma once

#include <string_view>

namespace mambac::tools {

/// The text of a file by its name. InternalError for another.
std::string_view report_file(std::string_view name);

}  // namespace mambac::tools
