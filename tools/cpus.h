// What processors can do: the CPUs of the cost model.
#pragma once

#include <string>

#include "tools/device_description.h"

namespace mambac::tools {

/// A CPU as its description says (models/devices/).
struct Cpu {
  std::string name;  // of its description
  std::string title;
  std::string processor;        // LLVM's name, whose pipes are this one's
  int threads;                  // that kernels run on, each on a core of its own
  double clock;                 // Hz
  int pipe_lanes;               // f32 values that a pipe takes at once
  double multiply_adds;         // of f32, of a core and each clock
  double narrow_multiply_adds;  // of bf16
  double l1_bytes, l2_bytes;    // of a core
  double l3_bytes;              // of all threads together
  double l2_bytes_per_second;   // of a core
  double l3_bytes_per_second;   // of all threads together
  double bytes_per_second;      // of memory, of all threads together
  double stride_bytes;          // accesses that are equally far apart, and not further, are foreseen by its prefetchers
  // Clocks that a line takes which its prefetchers did not foresee, others being on their way:
  double l2_line_clocks;  // from the L2 cache
  double l3_line_clocks;  // from the L3 cache
  double line_clocks;     // from memory
  double launch_seconds;  // from the end of a kernel's work to the start of the next one's on all threads
};

/// InputError for a description of something else, and for one that lacks what a CPU has.
Cpu cpu_of(DeviceDescription description);

}  // namespace mambac::tools
