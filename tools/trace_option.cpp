#include "tools/trace_option.h"

#include <fmt/format.h>

#include <filesystem>

#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/interrupt.h"
#include "runtime/trace_file.h"
#include "tools/arguments.h"

namespace mambac::tools {
namespace {

/// What would be known only when there is something to write, and the work is done.
void check_writable(const std::string& path) {
  std::error_code error;
  if (std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error))
    throw InputError(fmt::format("--trace: '{}' is no regular file, expected one or a new name", path));
  AtomicFile{path};
}

void write_trace(const TraceArguments& arguments, const std::string& command, const TraceRecorder& recorder) {
  const std::vector<TraceTrack> tracks = recorder.tracks();
  write_trace(arguments.file, "mambac " + command, tracks);
  size_t events = 0;
  int64_t left_out = 0;
  for (const TraceTrack& track : tracks) {
    events += track.events.size();
    left_out += track.left_out;
  }
  talk(fmt::format("'{}' has {} spans, for https://ui.perfetto.dev", arguments.file, events));
  if (left_out > 0)
    talk(fmt::format("mambac: warning: {} spans of the middle are left out; --trace-events {} would keep all of them",
                     left_out, 2 * (static_cast<int64_t>(events) + left_out)));
}

}  // namespace

void add_trace(Command command, TraceArguments& arguments) {
  command.add_option("--trace", arguments.file, "write what was done when, for https://ui.perfetto.dev");
  command
      .add_option("--trace-events", arguments.events,
                  "spans of a thread that a trace keeps, half of them the first, half the last")
      .show_default()
      .positive()
      .needs(command.option("--trace"));
}

void traced(const TraceArguments& arguments, const std::string& command, const std::function<void()>& work) {
  if (arguments.file.empty()) return work();
  check_writable(arguments.file);
  const TraceRecorder recorder(arguments.events);
  {
    const LastWords interrupted([&] {
      try {
        write_trace(arguments, command, recorder);
      } catch (const Failure& failure) {
        talk(fmt::format("mambac: {}", failure.what()));
      }
    });
    work();
  }
  write_trace(arguments, command, recorder);
}

}  // namespace mambac::tools
