// This machine's processors, with kernels by LLVM and products by oneDNN.
#pragma once

#include "runtime/device.h"

namespace mambac {

/// The one device of this kind; it lives as long as the process.
Device& cpu_device();

}  // namespace mambac
