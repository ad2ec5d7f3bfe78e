// Traces as files that Perfetto (https://ui.perfetto.dev) and chrome://tracing read.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "runtime/trace_recorder.h"

namespace mambac {

/// Writes the tracks as JSON of Chrome's trace event format, whole or not at all: one process called `title`, a thread
/// for each track, and a complete event for each span, in microseconds. EnvironmentError when the file cannot be
/// written.
void write_trace(const std::filesystem::path& path, const std::string& title, const std::vector<TraceTrack>& tracks);

}  // namespace mambac
