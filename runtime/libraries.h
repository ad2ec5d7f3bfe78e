// Looks for shared libraries that may be absent, and says where it looked. Never fails.
#pragma once

#include <string>
#include <vector>

namespace mambac {

struct LibraryAttempt {
  std::string name;    // what was asked of the loader: a name, or a path
  std::string answer;  // the loader's error; empty: found
};

struct LibraryProbe {
  std::string purpose;                   // "CUDA driver"
  std::vector<LibraryAttempt> attempts;  // in the order tried; the last one is the one found, if any
  std::string path;                      // of the file found; empty: none

  bool found() const { return !path.empty(); }
};

/// Tries each name with the loader's own search, then in each folder, until one can be opened; closes it again.
LibraryProbe probe_library(const std::string& purpose, const std::vector<std::string>& names,
                           const std::vector<std::string>& folders);

/// The driver, NVRTC, cuBLASLt and the NVTX annotations, in the loader's search path, $CUDA_HOME, $CUDA_PATH and
/// /usr/local/cuda.
std::vector<LibraryProbe> probe_cuda_libraries();

}  // namespace mambac
