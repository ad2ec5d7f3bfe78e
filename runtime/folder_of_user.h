// Where files of a user's own lie, by the XDG base directory specification.
#pragma once

#include <filesystem>

namespace mambac {

/// $OWN, or else $XDG/NAME, or else ~/BELOW_HOME/NAME; empty when the environment names no place.
std::filesystem::path folder_of_user(const char* own, const char* xdg, const char* below_home,
                                     const std::filesystem::path& name);

}  // namespace mambac
