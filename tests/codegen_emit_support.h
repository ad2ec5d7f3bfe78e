// Small kernels by hand and the instruction sets that this machine can run.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
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
  ScratchPool pool;
  launch(jit.compile(kernel), buffers.data(), sizes, pool);
}

}  // namespace mambac::test
