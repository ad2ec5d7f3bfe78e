// How long single instructions of a warp take on a described GPU.
#pragma once

#include "tools/gpus.h"
#include "tools/warp_program.h"

namespace mambac::tools {

/// What is on a multiprocessor at once, and how it reaches memory.
struct WarpLoad {
  int warps = 1;               // of a scheduler
  int together = 1;            // of these, those of a block, which barriers hold together
  int rows = 1;                // of memory that the lanes of an access divide among themselves
  bool in_l2 = false;          // the L2 cache has what is loaded
  double bytes_per_clock = 1;  // of global memory that a scheduler's warps get
  double blocks = 1;           // one after another, in the place of each
};

constexpr int kLanesOfWarp = 32;

/// Of a scheduler, whose part of the multiprocessor's access pipe is as large as that of the others.
struct StepClocks {
  double busy = 0;      // for which the pipe takes no other step
  double answered = 0;  // from then on until the result is there
};

StepClocks step_clocks(const Gpu& gpu, const WarpStep& step, const WarpLoad& load);

}  // namespace mambac::tools
