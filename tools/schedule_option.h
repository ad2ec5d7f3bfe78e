// The option --schedule: axes of the mapping of chosen kernels, in the place of what the device chose.
#pragma once

#include <string>
#include <vector>

#include "runtime/program.h"

namespace CLI {
class App;
class Option;
}

namespace mambac::tools {

/// Declares --schedule, which may be given several times.
CLI::Option* add_schedule(CLI::App& command, std::vector<std::string>& settings);

/// `chosen`, changed by "PART:AXIS=NUMBER,AXIS=NUMBER" texts, each for the kernels whose name has PART in it (all, when
/// it is empty). InputError for other text, unknown axes, and, when it is called, for what is illegal for a kernel.
Program::Scheduler with_settings(Program::Scheduler chosen, const std::vector<std::string>& settings);

}  // namespace mambac::tools
