// nvdisasm, which comes with CUDA and is looked for like its libraries. Without it machine code cannot be read.
#pragma once

#include <filesystem>
#include <string>

namespace mambac::cuda {

/// The path of nvdisasm; empty: there is none. Looked for beside the NVRTC that is used, whose machine code it knows,
/// in $PATH, and in bin of the folders that NVRTC is looked for in. When $MAMBAC_NVDISASM is set, it is the only path
/// tried ("none": none is), and EnvironmentError when there is no program.
std::filesystem::path find_disassembler(const std::filesystem::path& nvrtc);

/// A cubin's machine code as text, with the lines of the source that its line table has, and where asked for with the
/// encodings of instructions. EnvironmentError with what the program says when it does not take it (it is older than
/// NVRTC).
std::string disassemble(const std::filesystem::path& program, const std::string& cubin, bool encodings = false);

}  // namespace mambac::cuda
