// A command in a process of its own, which may crash or never end.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace mambac::tools {

struct ChildEnd {
  int code = 0;            // exit code; 128 + signal when a signal ended it
  bool timed_out = false;  // it was ended because it took too long
  std::string error;       // what it wrote to standard error, the last 64 kB
};

/// Runs a program, its standard output thrown away, with further variables in its environment. It gets no signals from
/// the keyboard; when one comes for this process (InterruptGuard), it is ended. EnvironmentError when no process can be
/// started.
ChildEnd run_child(const std::vector<std::string>& command, const std::map<std::string, std::string>& variables,
                   double limit_seconds);

}  // namespace mambac::tools
