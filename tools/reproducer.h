// What an internal error leaves behind for those who mend it.
#pragma once

#include <string>
#include <vector>

namespace mambac::tools {

/// Remembers the text of the model under work; the latest one counts.
void note_model(const std::string& definition);

/// Makes a new folder for temporary files with the command line, the message, the machine and the noted model. Returns
/// its path, empty when it cannot be written. Never fails.
std::string write_reproducer(const std::string& message, const std::vector<std::string>& arguments);

}  // namespace mambac::tools
