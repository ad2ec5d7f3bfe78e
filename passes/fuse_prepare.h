// Rewrites that make the memory of a graph simple before fusion: joins own their operands' memory, library operands
// are matrices, outputs have memory of their own. Where that does not hold, a copy (the op `stop`) is put in.
#pragma once

#include "ir/graph.h"
#include "passes/fuse.h"

namespace mambac {

Graph prepare_fusion(const Graph& graph, const FuseOptions& options);

/// True when the dims, in this order, can be walked in a value's memory with one stride (the value may be a chain of
/// views): row-major neighbours without gaps.
bool is_one_stride(const Graph& graph, NodeId value, const std::vector<DimId>& dims);

}  // namespace mambac
