// Which error it is, whatever the names and sizes in a graph.
#pragma once

#include <set>
#include <string>

#include "tools/child_process.h"

namespace mambac::tools {

/// How the process ended (exit code, signal, not at all) and what it said was wrong: its lines "mambac: ...", or its
/// last line where there is none. In these, quoted text, what stands in brackets, numbers, dotted words and `names` are
/// all the same. Empty when it ended well.
std::string error_identity(const ChildEnd& end, const std::set<std::string>& names);

}  // namespace mambac::tools
