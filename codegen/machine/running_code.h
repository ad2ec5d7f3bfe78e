// What runs of a function: its blocks, loop within loop.
#pragma once

#include <vector>

#include "codegen/machine/control_flow.h"

namespace mambac::machine {

/// A loop, or a whole function as a loop of one iteration.
struct RunningLoop {
  /// A block, or a loop within (its index; -1: none).
  struct Part {
    size_t block = 0;
    int loop = -1;
  };
  double runs = 1;          // iterations
  double trips = 1;         // of these, each time that it is come to
  std::vector<Part> parts;  // of an iteration, in the order of addresses
  std::vector<RunningLoop> loops;
};

/// `runs`: of each instruction (instruction_runs). What runs in fewer than half of the iterations around it is left
/// out.
RunningLoop running_code(const ControlFlow& flows, const std::vector<double>& runs);

}  // namespace mambac::machine
