// Code of a kernel with what each line is there for: the statement of the model behind it.
//
// Kernels of different layers that are equal have one code; its origins are those of the kernel that is asked here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "codegen/loop_ir.h"

namespace mambac {

struct LabelledLine {
  std::string text;
  int origin = -1;  // index into loop::Kernel::origins; -1: none
};

/// Loop IR, as loop::print has it.
std::vector<LabelledLine> labelled_loops(const loop::Kernel& kernel);
/// CUDA C++, as cuda_emit::emit has it. Line i of the source of machine code (machine::Instruction::line) is element
/// i - cuda::first_line_of_text().
std::vector<LabelledLine> labelled_cuda(const loop::Kernel& kernel);
/// LLVM IR after optimisation and assembly for this machine, as Jit::list has them. An instruction that serves several
/// statements has the origin of the stage, which a walk has and rows have not.
std::vector<LabelledLine> labelled_llvm(const loop::Kernel& kernel);
std::vector<LabelledLine> labelled_assembly(const loop::Kernel& kernel);

/// These by name: "kernels", "llvm", "asm" or "cuda".
std::vector<LabelledLine> labelled_code(const loop::Kernel& kernel, std::string_view form);
/// What begins a comment there, and in machine code of GPUs ("sass", "ptx").
std::string_view comment_mark(std::string_view form);

/// "mamba.mb:23 h", "mamba.mb:23 walk of h"; without a place the name alone.
std::string label_text(const loop::Origin& origin);

/// The lines, with labels as comments at the right margin.
std::string with_labels(const std::vector<LabelledLine>& lines, const std::vector<loop::Origin>& origins,
                        std::string_view comment);

}  // namespace mambac
