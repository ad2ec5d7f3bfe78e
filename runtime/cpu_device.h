// This machine's processors, with kernels by LLVM and products by oneDNN.
#pragma once

#include "runtime/device.h"

namespace mambac {

/// The one that programs use; it lives as long as the process.
Device& cpu_device();

/// The same with kernels that LLVM does not optimise: compiled in less than half the time, for tests of many.
Device& unoptimised_cpu_device();

}  // namespace mambac
