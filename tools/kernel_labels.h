// What spans of kernels and library calls say in a trace.
#pragma once

#include <vector>

#include "ir/graph.h"
#include "ir/trace.h"

namespace mambac::tools {

/// One for each of fused.kernels: its name in emitted code, which equal kernels of other layers share, and as arguments
/// `kernel`, its name in the graph, `lines` of the definitions that it comes from ("mamba.mb:31-36,40"), and the
/// `bytes` that it reads and writes at these sizes (kernel_work.h).
std::vector<const trace::Label*> kernel_labels(const Graph& fused, const Bindings& sizes);

}  // namespace mambac::tools
