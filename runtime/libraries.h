// Looks for shared libraries that may be absent, opens them while the program runs, and says where it looked.
#pragma once

#include <string>
#include <vector>

namespace mambac {

struct LibraryAttempt {
  std::string name;    // what was asked of the loader: a name, or a path
  std::string answer;  // the loader's error; empty: found

  std::string str() const;  // "libcuda.so.1: cannot open shared object file", the name once
};

struct LibraryProbe {
  std::string purpose;                   // "CUDA driver"
  std::vector<LibraryAttempt> attempts;  // in the order tried; the last one is the one found, if any
  std::string path;                      // of the file found; empty: none
  std::string advice;                    // what a user can do who lacks it; may be empty
  void* handle = nullptr;                // of the loader, when found; the library stays open until the process ends

  bool found() const { return handle != nullptr; }
};

/// Tries each name with the loader's own search, then in each folder, until one can be opened. Never fails.
LibraryProbe probe_library(const std::string& purpose, const std::vector<std::string>& names,
                           const std::vector<std::string>& folders);

/// EnvironmentError with every name tried, the loader's answers and the advice, unless the library was found.
void require_library(const LibraryProbe& library);

/// The address of a function of a library that was found. EnvironmentError names library, path, function and the
/// advice.
void* require_symbol(const LibraryProbe& library, const char* name);

}  // namespace mambac
