// The text of machine code: SASS as nvdisasm prints it, or PTX, the assembler's input, where there is no nvdisasm.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "codegen/machine/instruction.h"

namespace mambac::cuda {

/// What `nvdisasm -c -gi` prints, with or without `-hex`. InternalError when a branch leads nowhere.
std::vector<machine::Function> parse_sass(std::string_view text);

/// PTX with its line table. Of inlined functions in front of line `first_line` the place is taken that they were
/// inlined to. InternalError when a branch leads nowhere.
std::vector<machine::Function> parse_ptx(std::string_view text, int first_line);

/// A line of such a text, and that of the source behind it, as in machine::Instruction; 0: not known.
struct CodeLine {
  std::string text;
  int line = 0;
};

/// The functions, labels and instructions of SASS, without encodings. Of PTX the functions as they stand there, without
/// the line table.
std::vector<CodeLine> sass_lines(std::string_view text);
std::vector<CodeLine> ptx_lines(std::string_view text, int first_line);

/// Whether it is for the special-function unit: exponentials, logarithms, reciprocals and their like.
bool is_special(const machine::Instruction& instruction);

}  // namespace mambac::cuda
