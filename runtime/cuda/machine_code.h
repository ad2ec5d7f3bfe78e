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

struct Instruction {
  std::string opcode;  // "MUFU.EX2", "ex2.approx.ftz.f32"
  int line = 0;        // of the source, where it was inlined to; 0: not known
  Flow flow = Flow::next;
  bool conditional = false;
  std::vector<int> targets{};  // indices of instructions
};

/// A kernel, with what it calls.
struct MachineFunction {
  std::string name;
  std::vector<Instruction> instructions;
};

/// What `nvdisasm -c -gi` prints. InternalError when a branch leads nowhere.
std::vector<MachineFunction> parse_sass(std::string_view text);

/// PTX with its line table. Of inlined functions in front of line `first_line` the place is taken that they were
/// inlined to. InternalError when a branch leads nowhere.
std::vector<MachineFunction> parse_ptx(std::string_view text, int first_line);

/// A line of such a text, and that of the source behind it, as in Instruction; 0: not known.
struct CodeLine {
  std::string text;
  int line = 0;
};

/// The functions, labels and instructions of SASS. Of PTX the functions as they stand there, without the line table.
std::vector<CodeLine> sass_lines(std::string_view text);
std::vector<CodeLine> ptx_lines(std::string_view text, int first_line);

/// Whether it is for the special-function unit: exponentials, logarithms, reciprocals and their like.
bool is_special(const Instruction& instruction);

}  // namespace mambac::cuda
