#include "runtime/cuda/disassembler.h"

#include <fmt/format.h>

#include <cstdlib>
#include <string_view>
#include <vector>

#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/cuda/host_compiler.h"
#include "runtime/cuda/libraries.h"
#include "runtime/scratch_folder.h"

namespace mambac::cuda {
namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "nvdisasm";

/// lib64/libnvrtc.so has bin/nvdisasm beside lib64; that of targets/x86_64-linux/lib, two levels further up.
std::vector<fs::path> folders_near(const fs::path& nvrtc) {
  std::error_code error;
  const fs::path root = fs::weakly_canonical(nvrtc, error).parent_path().parent_path();
  return {root / "bin", root.parent_path().parent_path() / "bin"};
}

}  // namespace

fs::path find_disassembler(const fs::path& nvrtc) {
  if (const char* set = std::getenv("MAMBAC_NVDISASM"); set && *set) {
    if (std::string_view(set) == "none") return {};
    if (is_program(set)) return set;
    throw EnvironmentError(fmt::format("$MAMBAC_NVDISASM names '{}', which is no program", set));
  }
  std::vector<fs::path> folders = folders_near(nvrtc);
  for (const fs::path& folder : path_folders()) folders.push_back(folder);
  for (const std::string& folder : program_folders()) folders.emplace_back(folder);
  for (const fs::path& folder : folders)
    if (is_program(folder / kName)) return folder / kName;
  return {};
}

std::string disassemble(const fs::path& program, const std::string& cubin, bool encodings) {
  const ScratchFolder folder("mambac-disassembly");
  const fs::path code = folder.path() / "kernel.cubin", text = folder.path() / "kernel.sass";
  write_file(code, cubin);
  std::vector<std::string> command{program.string(), "-c", "-gi", code.string()};
  if (encodings) command.emplace_back("-hex");
  const int status = run_command(command, text);
  std::string output = read_file(text, size_t{1} << 30);
  if (status == 0) return output;
  throw EnvironmentError(fmt::format("'{}' cannot read the machine code of this NVRTC (status {}): {}",
                                     program.string(), status, output.substr(0, 500)));
}

}  // namespace mambac::cuda
