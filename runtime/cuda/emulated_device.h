// A GPU that is not there: generated CUDA C++ run by the emulator (runtime/cuda/emulator.h), products by the CPU's
// library.
#pragma once

#include "runtime/cuda/emulator.h"
#include "runtime/device.h"

namespace mambac {

/// Memory is the machine's own, filled with NaN before it is used. Every run of a kernel has another order of threads.
std::unique_ptr<Device> emulated_cuda_device(const EmulationOptions& options = {});

}  // namespace mambac
