// One kernel of a fused graph as a graph of its own: to run it by itself, and to see the values within it.
#pragma once

#include <cstdint>
#include "ir/graph.h"

namespace mambac {

/// What of its values a kernel stores by itself.
enum class Stored : uint8_t {
  all,        // all of float type, those too that otherwise exist within the kernel only
  in_memory,  // those that others read in the fused graph
};

/// Kernel `number` of a fused graph: the same nodes under the same names, the same loops. What it reads of memory are
/// inputs (parameters stay parameters). What it stores are outputs, named like their nodes.
Graph kernel_alone(const Graph& fused, int number, Stored stored = Stored::all);

}  // namespace mambac
