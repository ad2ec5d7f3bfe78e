// What tests of CUDA share: a library of the kind of fake_cuda.h, and variables of the environment for a while.
#pragma once

#include <dlfcn.h>
#include <stdlib.h>

#include <optional>
#include <string>

#include "runtime/libraries.h"
#include "tests/fake_cuda.h"

namespace mambac::test {

/// Sets a variable (or removes it: nullptr) until the end of the scope.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  Variable(const char* name, const std::string& value) : Variable(name, value.c_str()) {}
  ~Variable() { set(old_ ? old_->c_str() : nullptr); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  void set(const char* value) {
    if (value != nullptr) {
      setenv(name_, value, 1);
    } else {
      unsetenv(name_);
    }
  }
  const char* name_;
  std::optional<std::string> old_;
};

inline LibraryProbe fake_library(const char* path = MAMBAC_FAKE_CUDA) {
  return probe_library("fake CUDA", {path}, {});
}

/// Those of the fake library.
inline FakeCounts counts() {
  const LibraryProbe library = fake_library();
  return reinterpret_cast<decltype(&fake_counts)>(require_symbol(library, "fake_counts"))();
}

/// Both texts are in the message.
inline bool says(const std::string& message, const std::string& one, const std::string& other = "") {
  return message.find(one) != std::string::npos && message.find(other) != std::string::npos;
}

}  // namespace mambac::test
