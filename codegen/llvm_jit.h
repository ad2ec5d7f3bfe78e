// Kernels to machine code in this process, by LLVM.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "codegen/loop_ir.h"
#include "codegen/processor_code.h"

namespace mambac {

/// Runs the tasks begin <= task < end of a stage; scratch: 64-byte aligned memory of the calling thread.
using StageFunction = void (*)(void* const* buffers, const int64_t* sizes, void* scratch, int64_t begin, int64_t end);

struct CompiledStage {
  std::string name;
  loop::Int tasks;            // of the sizes
  int64_t scratch_bytes = 0;  // per thread
  StageFunction run = nullptr;
};

/// Its code lives as long as the Jit that made it.
///
/// Each buffer pointer must be aligned to its element, and memory that a kernel writes must be reachable through one of
/// its buffers only: the code assumes that no two buffers overlap unless both are read only.
struct CompiledKernel {
  std::string name;
  std::vector<CompiledStage> stages;
};

/// "LLVM 19.1.7"
std::string compiler_library();

/// What a kernel became, for people to read.
struct Listing {
  std::string llvm_ir;   // after optimisation
  std::string assembly;
  // Where they were asked for: by line the origin of its instruction (loop::Kernel::origins); -1: none.
  std::vector<int> llvm_ir_origins, assembly_origins;
};

/// A compiler for one instruction set. Thread-safe.
class Jit {
 public:
  /// The one for this machine, which lives as long as the process.
  static Jit& host();

  /// cpu: "host", or an LLVM name such as "x86-64", "x86-64-v3", which this machine can run unless code is only looked at.
  /// Throws InputError when LLVM knows no 64-bit processor of the name. Without `optimise`, code is generated in less than half the time and runs slowly.
  explicit Jit(const std::string& cpu, bool optimise = true);
  ~Jit();
  Jit(const Jit&) = delete;
  Jit& operator=(const Jit&) = delete;

  /// f32 values in one vector register: 16, 8 or 4.
  int native_width() const;
  /// LLVM's name of the processor, "znver4".
  std::string processor() const;
  /// Whether LLVM knows how long the processor's instructions take, which processor_code() needs.
  bool knows_clocks() const;
  /// The processor and the instruction sets that decide the code, one line; part of a cache's key.
  const std::string& description() const;

  /// Compiles a kernel, or returns the code of an equal one compiled before. Throws InternalError when LLVM rejects it.
  CompiledKernel compile(const loop::Kernel& kernel);
  /// The same for many at once, on all cores.
  std::vector<CompiledKernel> compile(const std::vector<const loop::Kernel*>& kernels);

  /// The texts are the same with origins and without.
  Listing list(const loop::Kernel& kernel, bool with_origins = false) const;

  /// The same code as compile makes, to be timed and not to be run. Throws as compile, and InputError when LLVM has no
  /// times for the processor.
  std::unique_ptr<ProcessorCode> processor_code(const loop::Kernel& kernel) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace mambac
