// Cache lines that a task waits for.
#pragma once

#include <cmath>

#include "tools/memory_accesses.h"

namespace mambac::tools {

/// What a processor's caches and its prefetchers do.
struct NearMemory {
  double l1_bytes = 32768;
  double l2_bytes = HUGE_VAL;
  double l3_bytes = HUGE_VAL;  // of it, a thread's share
  double stride_bytes =
      2048;                // whole lines that one instruction comes to equally far apart, and not further, are foreseen
  double first_lines = 4;  // of a piece of memory that is read on and on: so many come before it is seen to be one
  double streams = 88;  // such pieces that are followed at a time, of all buffers; fitted to convolutions on a Zen 4
  // Rows that are read together begin anew where others have been read meanwhile. So many are followed there, if it is
  // not nearer than prefetchers run on; fitted to norms on a Zen 4.
  double rows_followed = 4, ahead_bytes = 2048;
};

struct LateLines {
  double unforeseen = 0;  // that no prefetcher brought
  double taken = 0;       // by prefetchers that went on where a piece ends that is written: others write there
  double again = 0;       // that were near before, and have left the L1 cache
  double from_l3 = 0;     // that have left the L2 cache, too
  double from_memory = 0; // that have left all caches
  double swept = 0;       // of the task's own arrays, which it comes to in order and again and again: the same
};

/// Of one task, on the thread that the accesses are of.
LateLines late_lines(const MemoryAccesses& accesses, const NearMemory& memory);

}  // namespace mambac::tools
