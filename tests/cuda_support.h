// What tests of CUDA share: a library of the kind of fake_cuda.h.
#pragma once

#include <dlfcn.h>

#include "runtime/libraries.h"
#include "tests/fake_cuda.h"
#include "tests/variable.h"

namespace mambac::test {

inline LibraryProbe fake_library(const char* path = MAMBAC_FAKE_CUDA) {
  return probe_library("fake CUDA", {path}, {});
}

/// Those of the fake library.
inline FakeCounts counts() {
  const LibraryProbe library = fake_library();
  return reinterpret_cast<decltype(&fake_counts)>(require_symbol(library, "fake_counts"))();
}

}  // namespace mambac::test
