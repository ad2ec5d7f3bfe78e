// How many instructions a kernel issues, counted in its machine code: each as often as it runs.
//
// Every instruction takes one issue slot of a thread, predicated or not, those for the special-function unit too, whose
// own rate is counted apart.
#pragma once

#include <vector>

#include "codegen/machine/instruction_runs.h"
#include "runtime/cuda/machine_code.h"

namespace mambac::cuda {

struct SlotCount {
  double slots = 0;    // instructions
  double special = 0;  // of which for the special-function unit

  SlotCount& operator+=(const SlotCount& other);
  SlotCount operator*(double factor) const { return {slots * factor, special * factor}; }
};

/// Of one thread whose instructions run so often.
SlotCount count_slots(const machine::Function& function, const std::vector<double>& runs);
SlotCount count_slots(const machine::Function& function, const machine::Nest& nest, const machine::NestRuns& runs,
                      int first_line);

}  // namespace mambac::cuda
