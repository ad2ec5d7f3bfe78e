// Generated CUDA C++ run without a GPU: built by the C++ compiler of this machine, and checked at every access. See
// docs/cuda-emulation.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "runtime/cuda/emulated_block.h"

namespace mambac {

struct EmulatedBuffer {
  void* data = nullptr;
  int64_t count = 0;  // elements of the kernel's type
};
/// A buffer, or a number for a parameter that is one.
using EmulatedArgument = std::variant<EmulatedBuffer, int64_t>;

struct EmulationOptions {
  uint64_t seed = 0;                // of the orders in which blocks and threads run
  bool check_global_races = false;  // compare accesses to buffers, too, between the threads of a launch
};

/// Bytes of an element of a buffer; `kind`: its letter in mb_kernel::kinds.
int element_bytes(char kind);

class EmulatedModule {
 public:
  /// Builds a text in the vocabulary of codegen/cuda/device_header.h. A text that this process has built before is not
  /// built again; with a folder, nor is one whose library lies there. EnvironmentError when there is no compiler,
  /// InternalError with the compiler's first complaint when it refuses the text. Safe to call from several threads.
  static std::shared_ptr<const EmulatedModule> compile(
      const std::string& text, const std::filesystem::path& cache_folder = default_cache_folder());
  /// $MAMBAC_EMULATED_CACHE; empty, no folder, without it.
  static std::filesystem::path default_cache_folder();

  /// Names in the order of the text.
  std::vector<std::string> kernels() const;
  /// InternalError when the text has no such kernel.
  const mb_kernel& find(const std::string& name) const;

  /// Runs all blocks of a kernel, on OpenMP's threads unless buffers are checked between blocks. The arguments are in
  /// the order of the parameters. DeviceFault when the kernel does something wrong; InternalError when the launch does
  /// not fit it.
  void launch(const std::string& kernel, int64_t blocks, int threads, std::span<const EmulatedArgument> arguments,
              const EmulationOptions& options = {}) const;

 private:
  explicit EmulatedModule(const mb_kernel* kernels);

  std::vector<const mb_kernel*> kernels_;
};

}  // namespace mambac
