#include "runtime/cuda/emulated_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <map>
#include <mutex>
#include <sstream>

#include "codegen/cuda/device_header.h"
#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/cuda/host_compiler.h"
#include "runtime/cuda/kernel_list.h"
#include "runtime/scratch_folder.h"

namespace mambac {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHeader = "mambac_emulated.h";

/// -Og: most texts are run once, and it builds them in half the time of -O1, which runs them a sixth faster.
const std::vector<std::string> kFlags = {"-std=c++17",      "-Og",       "-shared", "-fPIC", "-fno-math-errno",
                                         "-fno-exceptions", "-fno-rtti", "-w"};

std::string source_of(const std::string& text) {
  std::string source = fmt::format("#include \"{}\"\n#line 1 \"kernels.cu\"\n{}\nMB_EMULATED_BEGIN\n", kHeader, text);
  for (const KernelSignature& kernel : kernels_of(text))
    source +=
        fmt::format("MB_EMULATED({}, {}, \"{}\")\n", kernel.name, kernel.threads, fmt::join(kernel.parameters, ","));
  return source + "MB_EMULATED_END\n";
}

/// 128 bits of FNV-1a, in two halves that start differently.
std::string key_of(const std::string& text) {
  uint64_t a = 0xcbf29ce484222325, b = 0x9ae16a3b2f90404f;
  for (unsigned char c : text) {
    a = (a ^ c) * 0x100000001b3;
    b = (b ^ c ^ (b >> 47)) * 0x100000001b3;
  }
  return fmt::format("{:016x}{:016x}", a, b);
}

/// The compiler's first error, else the first line of what it wrote.
std::string first_complaint(const std::string& log) {
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);)
    if (line.find("error") != std::string::npos) return line;
  return log.substr(0, log.find('\n'));
}

void build(const std::string& source, const std::vector<std::string>& compiler, const fs::path& folder,
           const fs::path& library) {
  write_file(folder / kHeader, cuda_emulation_header());
  write_file(folder / "kernels.cpp", source);
  std::vector<std::string> command = compiler;
  command.insert(command.end(), kFlags.begin(), kFlags.end());
  for (const fs::path& path : {folder / "kernels.cpp", fs::path("-o"), library}) command.push_back(path.string());
  const fs::path log = folder / "log";
  if (const int status = run_command(command, log); status != 0)
    throw InternalError(fmt::format("{} refuses a text for the emulation device (status {}): {}", compiler[0], status,
                                    first_complaint(read_file(log))));
}

const mb_kernel* load(const fs::path& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!handle) return nullptr;
  auto* list = reinterpret_cast<const mb_kernel* (*)()>(dlsym(handle, "mb_emulated_kernels"));
  return list ? list() : nullptr;
}

const mb_kernel* build_and_load(const std::string& source, const std::vector<std::string>& compiler,
                                const fs::path& cached) {
  const ScratchFolder folder("mambac-emulated");
  const fs::path library = folder.path() / "kernels.so";
  build(source, compiler, folder.path(), library);
  const mb_kernel* kernels = load(library);
  if (!kernels) throw EnvironmentError(fmt::format("cannot load what {} built: {}", compiler[0], dlerror()));
  if (!cached.empty()) {
    fs::create_directories(cached.parent_path());
    write_file(cached, read_file(library));
  }
  return kernels;
}

}  // namespace

const mb_kernel* emulated_kernels(const std::string& text, const fs::path& cache_folder) {
  static std::mutex mutex;
  static std::map<std::string, const mb_kernel*> known;
  {
    const std::lock_guard lock(mutex);
    if (const auto found = known.find(text); found != known.end()) return found->second;
  }
  const std::vector<std::string> compiler = host_compiler();
  const std::string source = source_of(text);
  fs::path cached;
  if (!cache_folder.empty())
    cached = cache_folder / (key_of(fmt::format("{}\n{}\n{}{}", fmt::join(compiler, " "), fmt::join(kFlags, " "),
                                                cuda_emulation_header(), source)) +
                             ".so");
  // A damaged library is built again; it cannot be loaded.
  const mb_kernel* kernels = !cached.empty() && fs::exists(cached) ? load(cached) : nullptr;
  if (!kernels) kernels = build_and_load(source, compiler, cached);
  const std::lock_guard lock(mutex);
  return known.emplace(text, kernels).first->second;
}

}  // namespace mambac
