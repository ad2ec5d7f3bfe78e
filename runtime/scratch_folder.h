// A folder for files that are gone when it is.
#pragma once

#include <filesystem>
#include <string>

namespace mambac {

class ScratchFolder {
 public:
  /// In the system's folder for temporary files, its name beginning like this. EnvironmentError when it cannot be made.
  explicit ScratchFolder(const std::string& name);
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace mambac
