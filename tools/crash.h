// Crashes of the process: a bug as any other, found by a signal.
#pragma once

#include <string>
#include <vector>

namespace mambac::tools {

/// From here on a signal of a crash (or Ctrl-\, for what never ends) leaves a reproducer behind, then ends the process
/// as it would have. As good as can be: where memory is in disorder, writing may fail; after ten seconds it is given
/// up. Signals that are handled already, as sanitizers do, are left alone.
void watch_for_crashes(const std::vector<std::string>& arguments);

/// In the environment of processes whose bugs are known, and leave no folders.
inline constexpr const char* kKnownBug = "MAMBAC_KNOWN_BUG";

/// Says on standard error that there is a bug, and where what led to it was written, the path in the last line.
void report_bug(const std::string& message, const std::vector<std::string>& arguments);

}  // namespace mambac::tools
