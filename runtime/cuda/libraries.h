// Where the libraries of CUDA are looked for. None of them is needed to build mambac, or to run it on a CPU.
#pragma once

#include <string>
#include <vector>

#include "runtime/libraries.h"

namespace mambac::cuda {

// Each looks first for what is in the process already and in the loader's own search path, then in $CUDA_HOME,
// $CUDA_PATH, /usr/local/cuda, other /usr/local/cuda-*, $CONDA_PREFIX, and the NVIDIA packages of the Python
// environment in $VIRTUAL_ENV; names of CUDA 13 before those of CUDA 12. When the variable in the comment is set, its
// path is the only one tried.
LibraryProbe find_driver();    // $MAMBAC_CUDA_DRIVER
LibraryProbe find_nvrtc();     // $MAMBAC_NVRTC
LibraryProbe find_cublaslt();  // $MAMBAC_CUBLASLT
/// The library by which a profiler takes NVTX ranges: profilers set $NVTX_INJECTION64_PATH for what they run, and
/// nothing else is tried. NVTX itself is no library any more since CUDA 13, and that of CUDA 12 does the same.
LibraryProbe find_nvtx();

/// Where programs of CUDA lie: bin of the same places, those that are there.
std::vector<std::string> program_folders();

}  // namespace mambac::cuda
