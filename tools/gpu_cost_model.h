// What kernels take on a described NVIDIA GPU, from their machine code: no GPU is needed, but NVRTC is.
#pragma once

#include <memory>

#include "tools/cost_model.h"
#include "tools/gpus.h"

namespace mambac::tools {

/// Compiles each schedule's kernel for the GPU's architecture, through the cache on disk, and follows its warps through
/// their instructions (warp_timing.h). Failures of predict are those of compile_all and disassemble; without nvdisasm
/// the instructions are those of PTX, and what waits for what is not known.
std::unique_ptr<CostModel> gpu_cost_model(Gpu gpu);

}  // namespace mambac::tools
