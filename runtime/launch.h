// Running compiled kernels on OpenMP's threads.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "codegen/llvm_jit.h"

namespace mambac {

/// Scratch memory, one block per thread, kept from launch to launch and grown when a kernel needs more. One pool serves
/// one launch at a time.
class ScratchPool {
 public:
  /// Makes sure that `threads` blocks of at least `bytes` exist; their contents are lost when they grow.
  void reserve(int threads, int64_t bytes);
  void* of(int thread) const { return blocks_[static_cast<size_t>(thread)].get(); }

 private:
  struct Release {
    void operator()(void* memory) const;
  };
  std::vector<std::unique_ptr<void, Release>> blocks_;
  int64_t bytes_ = 0;
};

/// Runs the stages of a kernel in order, the tasks of a stage on all of OpenMP's threads (on the calling thread alone
/// within a parallel region). Denormal numbers count as 0 meanwhile. Buffers and sizes are in the kernel's order; the
/// results do not depend on the number of threads.
void launch(const CompiledKernel& kernel, void* const* buffers, const std::vector<int64_t>& sizes, ScratchPool& pool);

}  // namespace mambac
