// The driver within a test, whose library the test may have tampered with.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "tests/tools_support.h"
#include "tools/driver.h"

namespace mambac::test {

/// Runs a command in this process.
inline Outcome run_here(std::vector<std::string> arguments) {
  std::vector<char*> pointers;
  arguments.insert(arguments.begin(), "mambac");
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Outcome outcome;
  outcome.code = tools::run(static_cast<int>(pointers.size()), pointers.data());
  std::fflush(nullptr);
  outcome.out = testing::internal::GetCapturedStdout();
  outcome.error = testing::internal::GetCapturedStderr();
  return outcome;
}

}  // namespace mambac::test
