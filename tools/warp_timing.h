// How long the warps of a scheduler take for a program, step by step: a warp's instructions issue in order, one of a
// scheduler's warps at a time, when the scoreboards that they wait for are free and their pipe is.
#pragma once

#include "tools/step_clocks.h"

namespace mambac::tools {

/// Clocks until all of the scheduler's warps are done.
double warp_clocks(const Gpu& gpu, const WarpProgram& program, const WarpLoad& load);

}  // namespace mambac::tools
