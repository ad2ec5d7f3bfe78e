// Files that every build carries within itself (cmake/embed.cmake).
#pragma once

#include <algorithm>
#include <span>
#include <string_view>
#include <vector>

namespace mambac {

struct EmbeddedFile {
  std::string_view file;  // "mamba.mb"
  std::string_view text;
};

/// Null when there is none of this name.
inline const EmbeddedFile* find_embedded(std::span<const EmbeddedFile> files, std::string_view name) {
  const auto found = std::ranges::find(files, name, &EmbeddedFile::file);
  return found == files.end() ? nullptr : &*found;
}

}  // namespace mambac
