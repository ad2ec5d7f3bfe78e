// Small kernels by hand and the instruction sets that this machine can run.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "codegen/llvm_jit.h"
#include "codegen/loop_ir.h"
#include "runtime/launch.h"

namespace mambac::test {

/// The machine's own instruction set and the older ones that it contains.
inline std::vector<Jit*> jits() {
  static std::vector<std::unique_ptr<Jit>> older;
  static const std::vector<Jit*> all = [] {
    std::vector<Jit*> list{&Jit::host()};
#if defined(__x86_64__)
    older.push_back(std::make_unique<Jit>("x86-64"));
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
      older.push_back(std::make_unique<Jit>("x86-64-v3"));
    if (__builtin_cpu_supports("avx512dq")) older.push_back(std::make_unique<Jit>("x86-64-v4"));
#endif
    for (const auto& jit : older) list.push_back(jit.get());
    return list;
  }();
  return all;
}

inline std::string short_name(const Jit& jit) { return jit.description().substr(0, jit.description().find(' ')); }

inline loop::Int size_of(int index) {
  return std::make_shared<loop::IntNode>(loop::IntNode{loop::IntOp::Size, index, nullptr, nullptr});
}

/// Runs a kernel's machine code.
inline void run(Jit& jit, const loop::Kernel& kernel, const std::vector<void*>& buffers,
                const std::vector<int64_t>& sizes = {}) {
  const CompiledKernel compiled = jit.compile(kernel);
  const Scratch scratch = scratch_for(compiled);
  const size_t bytes = (static_cast<size_t>(scratch.threads * scratch.bytes_per_thread) + 4096) / 4096 * 4096;
  const std::unique_ptr<void, decltype(&std::free)> memory(std::aligned_alloc(4096, bytes), &std::free);
  launch(compiled, buffers.data(), sizes, scratch.at(memory.get()));
}

}  // namespace mambac::test
