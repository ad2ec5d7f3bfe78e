// One kernel of a fused graph as a graph of its own: to run it by itself, and to see the values within it.
#pragma once

#include "ir/graph.h"

namespace mambac {

/// Kernel `number` of a fused graph: the same nodes under the same names, the same loops. What it reads of memory are
/// inputs (parameters stay parameters). All its values of float type are outputs, named like their nodes: they are
/// stored, those too that otherwise exist within the kernel only.
Graph kernel_alone(const Graph& fused, int number);

}  // namespace mambac
