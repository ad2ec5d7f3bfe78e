// The text of machine code: SASS as nvdisasm prints it, or PTX, the assembler's input, where there is no nvdisasm.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mambac::cuda {

/// What comes after an instruction.
enum class Flow : uint8_t {
  next,    // the instruction behind it
  branch,  // one of `targets`, and where it is conditional also the one behind it
  call,    // the function that begins at the target, then the one behind it
  end,     // nothing, and where it is conditional the one behind it: the end of a kernel, or of a called function
};

/// When an instruction may issue, as the assembler encodes it from sm_70 on: a warp's instructions issue in order, and
/// those whose time is not known to the assembler take one of six scoreboards.
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
struct MachineFunction {
  std::string name;
  std::vector<Instruction> instructions;
};

/// What `nvdisasm -c -gi` prints, with or without `-hex`. InternalError when a branch leads nowhere.
std::vector<MachineFunction> parse_sass(std::string_view text);

/// PTX with its line table. Of inlined functions in front of line `first_line` the place is taken that they were
/// inlined to. InternalError when a branch leads nowhere.
std::vector<MachineFunction> parse_ptx(std::string_view text, int first_line);

/// A line of such a text, and that of the source behind it, as in Instruction; 0: not known.
struct CodeLine {
  std::string text;
  int line = 0;
};

/// The functions, labels and instructions of SASS, without encodings. Of PTX the functions as they stand there, without
/// the line table.
std::vector<CodeLine> sass_lines(std::string_view text);
std::vector<CodeLine> ptx_lines(std::string_view text, int first_line);

/// Whether it is for the special-function unit: exponentials, logarithms, reciprocals and their like.
bool is_special(const Instruction& instruction);

}  // namespace mambac::cuda
