// Sums of values that different walks make.
#pragma once

#include "ir/graph.h"

namespace mambac {

/// Takes sums of wide values (passes/widths.h) from recurrences along different dimensions after what is linear in
/// them, where that ends in sums over fixed dimensions or over time:
///
///   dot<N>(h_rows + h_columns, c)        ->  dot<N>(h_rows, c) + dot<N>(h_columns, c)
///
/// No walk makes all terms, so the sum itself would be stored at full size. On a plane that is walked along both sides
/// with the same decays and inputs, the gradients of these are such sums. What does not end so stays as it is, and so
/// does every graph whose recurrences walk one dimension. Rounding changes in the last place.
Graph separate_walks(const Graph& graph, bool fuse_projections = true);

}  // namespace mambac
