// Running the driver as a user does.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <string>

#include "tests/temporary_folder.h"

namespace mambac::test {

struct Outcome {
  int code = -1;  // exit code; 128 + signal when a signal ended it
  std::string out, error;
};

/// Runs a shell command in the folder; "mambac" in it is the driver that was built.
inline Outcome shell(const TemporaryFolder& folder, const std::string& command) {
  const std::string script =
      "mambac() { '" MAMBAC_DRIVER "' \"$@\"; }\ncd '" + folder.path().string() + "' || exit 99\n" + command + "\n";
  const auto file = folder.write(".script", script);
  const auto out = folder / ".out", error = folder / ".error";
  const int status =
      std::system(("sh '" + file.string() + "' >'" + out.string() + "' 2>'" + error.string() + "'").c_str());
  Outcome outcome;
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = contents(out);
  outcome.error = contents(error);
  return outcome;
}

/// The same, which must succeed; returns standard output.
inline std::string succeed(const TemporaryFolder& folder, const std::string& command) {
  const Outcome outcome = shell(folder, command);
  EXPECT_EQ(outcome.code, 0) << command << "\n" << outcome.error;
  return outcome.out;
}

/// Text that a small model can learn from: words in a few orders.
inline std::string learnable_text(size_t bytes) {
  const char* words[] = {"the ", "state ", "of ", "a ", "scan ", "is ", "small. "};
  std::string text;
  for (unsigned i = 0, x = 1; text.size() < bytes; ++i) {
    x = x * 1664525 + 1013904223;
    text += words[(x >> 24) % 7];
  }
  text.resize(bytes);
  return text;
}

}  // namespace mambac::test
