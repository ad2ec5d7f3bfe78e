// What an internal error leaves behind for those who mend it.
#pragma once

#include <string>
#include <vector>

namespace mambac::tools {

/// Makes a new folder for temporary files, and returns its path, empty when it cannot be written. Never fails. In it:
///
///     command.sh        shows the error again: the pass or the code that failed, on graph.mb; otherwise the command
///     line graph.mb          the graph that the failed pass was given; when none failed, what keeps_sources had kept
///     refused.mb        what the pass made, when that was refused
///     model.mb          the definition
///     error.txt         the message
///     environment.json  version, machine, libraries, variables, command line, seeds
std::string write_reproducer(const std::string& message, const std::vector<std::string>& arguments);

}  // namespace mambac::tools
