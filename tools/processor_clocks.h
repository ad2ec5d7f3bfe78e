// How long a processor takes for a task of a stage: its loops, each followed until its iterations take equally long.
#pragma once

#include <vector>

#include "codegen/processor_code.h"

namespace mambac::tools {

struct ProcessorClocks {
  double clocks = 0;
  double instructions = 0;
};

/// Of one of so many tasks that a thread does one after the other: each begins before the one before it has ended.
/// `runs`: of each instruction of the stage (machine::instruction_runs). What runs in fewer than half of the iterations
/// around it takes no time but that its instructions count.
ProcessorClocks processor_clocks(const ProcessorCode& code, size_t stage, const std::vector<double>& runs,
                                 int64_t tasks);

}  // namespace mambac::tools
