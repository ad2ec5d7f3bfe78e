// Which contractions are library calls. Everything else is generated.
#pragma once

#include "ir/graph.h"

namespace mambac {

constexpr int64_t kFewTerms = 8;  // a sum of at most so many products is never worth a call

/// True when a Dot is a matrix product worth a library call if its operands lie in memory (passes/widths.h): each
/// operand keeps a dimension that the other lacks and none is kept by both, result and operands can be laid out as
/// matrices with free dimensions first, and it is no small projection: a sum over fixed dimensions, where what one
/// operand keeps is all free, of at most kFewTerms terms, or of at most 256 and at most 1/28 of the size it is
/// projected to. Without `fuse_projections`, small projections of more than kFewTerms terms are library calls too.
bool is_matrix_product(const Graph& graph, NodeId node, bool fuse_projections);

/// Whether one of the graph's dots is a small projection that `fuse_projections` decides on.
bool has_small_projections(const Graph& graph);

/// True for ops that only rename, index or cut memory, or say when it is read: at, slice, rename (of a static
/// dimension), after.
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
