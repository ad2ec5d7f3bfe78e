// Lines that share a set of the nearest cache.
#pragma once

#include <vector>

#include "tools/memory_accesses.h"

namespace mambac::tools {

/// Of each access the lines that the L1 cache loses before they are used, or while they are, since a loop comes to more
/// of their set than it has room for. A line's set is its place within its page, and of each set there is one line in
/// each page of the cache's size. All buffers are taken to begin at the same place of a page; arrays of a task's own are
/// left out, since where they begin is not known.
std::vector<double> colliding_lines(const std::vector<MemoryAccess>& accesses, double l1_bytes);

}  // namespace mambac::tools
