// What the CUDA assembler says about the kernels it made.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mambac::cuda {

/// Of one kernel, or of a function that kernels call and that was not inlined (`registers` is 0 then). Bytes are per
/// thread, those of `shared` per block.
struct KernelUse {
  std::string name;
  int registers = 0;
  int spill_stores = 0;  // bytes written to local memory for want of registers
  int spill_loads = 0;
  int stack = 0;     // local memory in all, that of called functions included: spills, arrays that are indexed
  int shared = 0;    // static shared memory
  int constant = 0;  // constant memory; the assembler leaves out that of the arguments from sm_90 on

  bool operator==(const KernelUse&) const = default;
};

/// Takes the lines of the assembler's verbose report (ptxas -v) out of a compiler's log; the other lines stay in the
/// log.
std::vector<KernelUse> take_kernel_uses(std::string& log);

/// A line for each kernel, and back. Nothing when the text is no such list.
std::string kernel_uses_text(const std::vector<KernelUse>& uses);
bool parse_kernel_uses(std::string_view text, std::vector<KernelUse>& uses);

}  // namespace mambac::cuda
