#include "runtime/scratch_folder.h"

#include <fmt/format.h>
#include <stdlib.h>

#include "ir/error.h"

namespace mambac {

namespace fs = std::filesystem;

ScratchFolder::ScratchFolder(const std::string& name) {
  std::string path = (fs::temp_directory_path() / (name + "-XXXXXX")).string();
  if (!mkdtemp(path.data()))
    throw EnvironmentError(fmt::format("cannot make a folder in {}", fs::temp_directory_path().string()));
  path_ = path;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace mambac
