// How many blocks of a kernel a multiprocessor holds at once.
#pragma once

#include <optional>
#include <string_view>

#include "runtime/cuda/kernel_use.h"
#include "tools/gpus.h"

namespace mambac::tools {

struct Occupancy {
  int blocks = 0;
  double share = 0;        // of the warps that a multiprocessor can hold
  std::string_view bound;  // what there is too little of for more: "warps", "blocks", "registers" or "shared memory"
};

/// For blocks of so many threads.
Occupancy occupancy_of(const Gpu& gpu, const cuda::KernelUse& use, int threads);
/// On the GPUs of an architecture, which have multiprocessors alike; nothing when none is described.
std::optional<Occupancy> occupancy_of(std::string_view architecture, const cuda::KernelUse& use, int threads);

}  // namespace mambac::tools
