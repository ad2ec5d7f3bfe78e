// The machine code of kernels that compile_all compiled with line tables.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "runtime/cuda/issue_slots.h"
#include "runtime/cuda/machine_code.h"
#include "tools/cuda_kernels.h"

namespace mambac::tools {

/// Reads SASS by nvdisasm, or where there is none PTX, the assembler's input.
class CodeReader {
 public:
  explicit CodeReader(std::string architecture);

  const std::filesystem::path& disassembler() const { return disassembler_; }  // empty: there is none

  /// Failures are those of disassemble. Of SASS with the control of each instruction, where that is asked for.
  std::vector<machine::Function> read(const CudaKernel& kernel, bool control = false) const;
  std::vector<cuda::CodeLine> lines(const CudaKernel& kernel) const;

 private:
  std::string ptx(const CudaKernel& kernel) const;

  std::string architecture_;
  std::filesystem::path disassembler_;
};

/// A launch of one stage.
struct StageRuns {
  std::string symbol;
  int64_t blocks = 0;
  int threads = 0;  // of a block
  const machine::Function* function = nullptr;
  std::vector<double> runs;  // of each instruction, per thread; the block in the middle stands for all of them
  cuda::SlotCount slots;     // of all threads of all blocks
};

/// Of each stage, whose functions these are. EnvironmentError when one is missing.
std::vector<StageRuns> stage_runs(const CudaKernel& kernel, const std::vector<machine::Function>& functions,
                                  const Bindings& sizes);

}  // namespace mambac::tools
