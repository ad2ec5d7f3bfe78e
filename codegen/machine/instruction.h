// Machine code as far as it matters for what it takes: opcodes, where they come from, what comes after what.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mambac::machine {

/// What comes after an instruction.
enum class Flow : uint8_t {
  next,    // the instruction behind it
  branch,  // one of `targets`, and where it is conditional also the one behind it
  call,    // the function that begins at the target, then the one behind it
  end,     // nothing, and where it is conditional the one behind it: the end of a kernel, or of a called function
};

/// NVIDIA GPUs: when an instruction may issue, as the assembler encodes it from sm_70 on: a warp's instructions issue
/// in order, and those whose time is not known to the assembler take one of six scoreboards.
struct IssueControl {
  int stall = 0;       // clocks until the warp's next instruction, at least
  int written = -1;    // the scoreboard that is taken until the result is there; -1: none
  int read = -1;       // and until the operands are read
  unsigned waits = 0;  // bit i: not before scoreboard i is free
};

struct Instruction {
  std::string opcode;  // "MUFU.EX2", "ex2.approx.ftz.f32"
  int line = 0;        // of the source, where it was inlined to; 0: not known
  Flow flow = Flow::next;
  bool conditional = false;
  std::vector<int> targets{};  // indices of instructions
  IssueControl control{};      // of SASS with its encodings
};

/// A kernel, with what it calls.
struct Function {
  std::string name;
  std::vector<Instruction> instructions;
};

}  // namespace mambac::machine
