// The option --trace: what a command did, as a file for Perfetto.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tools/command_line.h"

namespace mambac::tools {

struct TraceArguments {
  std::string file;  // empty: no trace
  int64_t events = 200'000;
};

/// Declares --trace and --trace-events.
void add_trace(Command command, TraceArguments& arguments);

/// Does the work of the command of this name. With --trace the file is written when the work is done, or with what was
/// recorded until then when SIGINT or SIGTERM ends it; when the work fails, the file stays as it was. Before the work
/// begins: InputError for what is no regular file, EnvironmentError when the file could not be written.
void traced(const TraceArguments& arguments, const std::string& command, const std::function<void()>& work);

}  // namespace mambac::tools
