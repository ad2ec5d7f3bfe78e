// Spans as NVTX ranges, for a profiler that this process runs under (Nsight Systems, Nsight Compute, CUPTI).
#pragma once

#include "ir/trace.h"
#include "runtime/libraries.h"

namespace mambac::cuda {

/// From now on tells the profiler that the environment names (find_nvtx) of all spans; does nothing when it names none.
/// EnvironmentError when the library that is named cannot be opened or does not take NVTX ranges. May be called again.
void annotate_for_profiler();

}  // namespace mambac::cuda
