// Which values are stored in half the bytes.
#pragma once

#include "ir/graph.h"

namespace mambac {

/// The graph with `storage` (bf16 or f16) for what moves through memory around large contractions; f32: unchanged.
///
///   operands of large contractions   cast to `storage`; of a parameter one cast of its f32 master. What else reads
///   such
///                                    an operand reads the rounded value too, so that it is written once, in half the
///                                    bytes; except where it goes on into a sum or difference of its own type (the
///                                    residual stream and its gradient), is an output, an input or a parameter. Of a
///                                    concat or stack the pieces are cast: each is written into its place
///   results of large contractions    `storage`, except outputs, gradients of weights (sums over free dimensions) and
///                                    what a maximum is taken over (logits)
///   everything else                  f32: states, decays, statistics of norms, accumulation, small contractions
///
/// What contractions are large depends on `fuse_projections` (passes/widths.h).
///
/// After differentiate, so that one decision holds for a value and for its gradient; before fuse, because what is
/// stored between kernels is decided here.
Graph lower_precision(const Graph& graph, DType storage, bool fuse_projections = true);

/// The graph with parameters of type `storage` in place of those that are only ever read rounded to it or as a table
/// of rows: half the bytes to read. For graphs that do not train; f32: unchanged.
///
/// After lower_precision, whose casts it takes away.
Graph narrow_parameters(const Graph& graph, DType storage);

/// The fused graph in which values that only walks read, from another walk, are stored as `storage`: what a mixer keeps
/// for its gradient, and gradients between its kernels. Within their kernel they stay f32. Not states and what
/// recurrences read, outputs, nor sums onto a value of the same type from elsewhere (a residual stream).
///
/// After fuse, which knows what is stored.
Graph narrow_stores(const Graph& fused, DType storage);

}  // namespace mambac
