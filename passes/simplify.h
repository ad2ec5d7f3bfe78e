// Cleans a graph up without changing what it means.
#pragma once

#include "ir/graph.h"

namespace mambac {

struct SimplifyOptions {
  bool drop_stops = false;  // `stop` is the identity once no gradient will be taken
};

/// Folds constants, removes neutral operations (x * 1, neg of neg, a broadcast that alignment by name makes needless),
/// looks through layout ops that undo each other (slice of concat, at of stack), turns sums of pieces that fill a
/// dimension into the concat or stack they are, computes equal nodes once, and drops what no output needs.
///
/// Model definitions are written for reading and gradients are made op by op; both are full of such waste, and every
/// later stage (fusion above all) sees a value for what it is only when the waste is gone. A sum of unslices, for one,
/// is how the gradient of `low[dt], low[B], low[C]` comes out; as a concat it is written once instead of added thrice.
///
/// Every replacement has exactly the type of what it replaces. Names and locations of the nodes that remain are kept;
/// of two equal nodes the first one's. Inputs and parameters stay, used or not.
Graph simplify(const Graph& graph, const SimplifyOptions& options = {});

}  // namespace mambac
