// What kernels take on a described CPU, from the machine code that LLVM makes for it.
#pragma once

#include <memory>

#include "tools/cost_model.h"
#include "tools/cpus.h"

namespace mambac::tools {

/// Compiles each schedule's kernel for the processor and follows its loops through the pipes (processor_clocks.h); what
/// memory gives in that time bounds them. InputError, here or
/// from predict, when LLVM does not know the processor or has no times for it.
std::unique_ptr<CostModel> cpu_cost_model(Cpu cpu);

}  // namespace mambac::tools
