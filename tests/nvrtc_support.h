// When tests of the real NVRTC are left out.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "runtime/cuda/libraries.h"

namespace mambac::test {

/// Why they are; empty where they run. That none of NVRTC's files is there is the only reason: one that is there and
/// cannot be opened, or was named by $MAMBAC_NVRTC, is a failure.
inline std::string without_nvrtc() {
  const LibraryProbe library = cuda::find_nvrtc();
  if (library.found()) return "";
  std::string reason = "NVRTC is not installed here; looked for";
  for (const LibraryAttempt& attempt : library.attempts) {
    const bool absent = attempt.str() == attempt.name + ": cannot open shared object file: No such file or directory";
    EXPECT_TRUE(absent) << attempt.str();
    reason += " " + attempt.name;
  }
  EXPECT_EQ(std::getenv("MAMBAC_NVRTC"), nullptr) << reason;
  return reason;
}

}  // namespace mambac::test
