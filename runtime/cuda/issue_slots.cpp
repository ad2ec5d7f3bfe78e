#include "runtime/cuda/issue_slots.h"

namespace mambac::cuda {

SlotCount& SlotCount::operator+=(const SlotCount& other) {
  slots += other.slots;
  special += other.special;
  return *this;
}

SlotCount count_slots(const machine::Function& function, const std::vector<double>& runs) {
  SlotCount sum;
  for (size_t i = 0; i < runs.size(); ++i)
    sum += SlotCount{1, is_special(function.instructions[i]) ? 1.0 : 0.0} * runs[i];
  return sum;
}

SlotCount count_slots(const machine::Function& function, const machine::Nest& nest, const machine::NestRuns& runs,
                      int first_line) {
  return count_slots(function, machine::instruction_runs(function, nest, runs, first_line));
}

}  // namespace mambac::cuda
