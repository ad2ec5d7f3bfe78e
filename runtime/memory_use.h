// The memory of this process, as the kernel counts it.
#pragma once

#include <cstdint>

namespace mambac {

struct MemoryUse {
  int64_t resident = 0;       // bytes in memory now
  int64_t peak_resident = 0;  // the most there ever were
  int64_t anonymous = 0;      // of the resident ones, those that no file backs
};

/// From /proc/self/status; zeros where that does not exist.
MemoryUse memory_use();

/// Bytes that this process can still get without swapping: what the machine has left or, if that is less, the group of
/// processes that this one belongs to (cgroup v2). The largest number where neither is known.
int64_t available_memory();

}  // namespace mambac
