// CUDA C++ to machine code by NVRTC, which is opened at run time and needs neither a GPU nor a driver.
#pragma once

#include <string>
#include <type_traits>
#include <vector>

#include "runtime/cuda/kernel_use.h"
#include "runtime/libraries.h"

namespace mambac::cuda {

class Driver;

struct CompileRequest {
  std::string source;                // CUDA C++, whole: nothing is included from files
  std::string program;               // its name in messages and line tables: "k5.cu"
  std::string architecture;          // "sm_90"
  std::vector<std::string> options;  // after the fixed ones of Nvrtc::options
};

struct Compilation {
  std::string cubin;
  std::vector<KernelUse> kernels;  // in the assembler's order; what it reports
  std::string log;                 // warnings, without the assembler's report; usually empty
};

/// The opened library. May be used from many threads at a time.
class Nvrtc {
 public:
  /// That of this process, opened at the first call. EnvironmentError when there is none or it lacks a function.
  static const Nvrtc& instance();
  explicit Nvrtc(const LibraryProbe& library);

  const std::string& path() const { return path_; }
  int major() const { return major_; }
  int minor() const { return minor_; }
  std::string version() const;  // "13.0"
  /// 75, 80, ...: what it makes machine code for.
  const std::vector<int>& architectures() const { return architectures_; }
  /// The newest supported architecture whose machine code a device of this compute capability runs: the same major
  /// number, a minor number not above. EnvironmentError when there is none.
  std::string architecture_for(int compute_major, int compute_minor) const;

  /// All options of a request: architecture and language are always said, and what of the arithmetic is free.
  static std::vector<std::string> options(const CompileRequest& request);
  /// InputError for an architecture that is not supported; EnvironmentError when the library lacks its companion or
  /// memory; InternalError with NVRTC's log, which shows the lines of the source, when the source is wrong.
  Compilation compile(const CompileRequest& request) const;
  /// The assembler's input, as text. Failures are those of compile.
  std::string ptx(const CompileRequest& request) const;

 private:
  using Program = struct OpaqueProgram*;
  struct Api {
#define MAMBAC_FUNCTION(name, ...) std::add_pointer_t<__VA_ARGS__> name = nullptr;
#include "runtime/cuda/nvrtc_functions.def"
#undef MAMBAC_FUNCTION
  };
  class Build;

  void check_architecture(const std::string& architecture) const;

  std::string path_;
  Api api_;
  int major_ = 0, minor_ = 0;
  std::vector<int> architectures_;
};

/// EnvironmentError unless the driver takes machine code that this NVRTC makes: its CUDA must be of the same major
/// version or a later one (CUDA's promise of compatibility). The message has both versions.
void check_driver_takes(const Driver& driver, const Nvrtc& nvrtc);

}  // namespace mambac::cuda
