// Which contractions are library calls. Everything else is generated.
#pragma once

#include "ir/graph.h"

namespace mambac {

/// True when a Dot is a matrix product worth a library call: each operand keeps a dimension that the other lacks and
/// none is kept by both, no operand is wide, result and operands can be laid out as matrices with free dimensions
/// first, and it is no small projection: a sum over fixed dimensions, where what one operand keeps is all free, of at most 8
/// terms, or of at most 256 and at most 1/28 of the size it is projected to.
/// Without `fuse_projections`, small projections of more than 8 terms are library calls too.
bool is_large_contraction(const Graph& graph, NodeId node, bool fuse_projections = true);

/// True when the value is never to be stored: it lies along a free dimension, has two or more static dimensions, and
/// is neither an input, a parameter, a contraction's result nor a view of one.
bool is_wide(const Graph& graph, NodeId node);

/// True for ops that only rename, index or cut memory: at, slice, rename (of a static dimension).
bool is_view(const Graph& graph, NodeId node);

struct ContractionSize {
  std::vector<DimId> batch, rows, columns, contracted;  // of x and y: both kept, x only, y only, summed
};
ContractionSize contraction_dims(const Graph& graph, NodeId node);

/// The contracted dims in the order in which both operands of a library call have them: free ones in the order of their
/// declaration, then the others as the node names them.
std::vector<DimId> contracted_order(const Graph& graph, const Node& dot);

/// An order of a value's dims that is a matrix of the kept and the contracted ones, and that a copy can have: free dims
/// first, in the order of their declaration. Empty when there is none.
std::vector<DimId> matrix_order(const Graph& graph, const std::vector<DimId>& kept,
                                const std::vector<DimId>& contracted);

}  // namespace mambac
