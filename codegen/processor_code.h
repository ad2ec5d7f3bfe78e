// The machine code of a kernel for a processor that need not be there, and how long the processor takes for parts of
// it: LLVM's model of its pipes, followed clock by clock (llvm-mca). Whatever is loaded is in the nearest cache.
#pragma once

#include <memory>
#include <vector>

#include "codegen/loop_ir.h"
#include "codegen/machine/instruction.h"
#include "codegen/machine/nest.h"

namespace llvm {
class Module;
class TargetMachine;
}  // namespace llvm

namespace mambac {

class ProcessorCode {
 public:
  /// The code of a stage's tasks. Lines of its instructions are those of the nest.
  struct Stage {
    machine::Function function;
    machine::Nest nest;
    std::vector<int> stored_bits;  // of each instruction: of the widest register that it stores, or 0
  };

  /// `module`: emitted from the kernel with origins, and optimised; `nests`: of number_statements. Jit::processor_code
  /// makes one.
  ProcessorCode(std::unique_ptr<llvm::TargetMachine> machine, llvm::Module& module, const loop::Kernel& kernel,
                std::vector<machine::Nest> nests);
  ~ProcessorCode();
  ProcessorCode(const ProcessorCode&) = delete;
  ProcessorCode& operator=(const ProcessorCode&) = delete;

  const std::vector<Stage>& stages() const { return stages_; }
  /// Clocks from the first of these instructions of a stage to the end of the last one, all of them repeated `times`
  /// times. Branches are foreseen.
  int64_t clocks(size_t stage, const std::vector<size_t>& instructions, int times) const;
  /// Instructions that can begin in a clock, and clocks that a branch costs which was not foreseen.
  int issue_width() const;
  int mispredicted_clocks() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
  std::vector<Stage> stages_;
};

}  // namespace mambac
