// Running compiled kernels on OpenMP's threads.
#pragma once

#include <cstdint>
#include <vector>

#include "codegen/llvm_jit.h"

namespace mambac {

/// Scratch memory of a launch: one block for each of so many threads, aligned to 64 bytes.
struct Scratch {
  int threads = 1;
  int64_t bytes_per_thread = 0;
  void* memory = nullptr;

  Scratch at(void* where) const { return {threads, bytes_per_thread, where}; }
  void* of(int thread) const { return static_cast<char*>(memory) + thread * bytes_per_thread; }
};

/// What a kernel needs to run on all of OpenMP's threads, its memory still to be set.
Scratch scratch_for(const CompiledKernel& kernel);

/// Runs the stages of a kernel in order, the tasks of a stage on all of OpenMP's threads, as far as there is scratch
/// memory for them (on the calling thread alone within a parallel region). Denormal numbers count as 0 meanwhile.
/// Buffers and sizes are in the kernel's order; the results do not depend on the number of threads.
void launch(const CompiledKernel& kernel, void* const* buffers, const std::vector<int64_t>& sizes,
            const Scratch& scratch);

}  // namespace mambac
