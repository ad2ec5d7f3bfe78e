// FLOPs per byte of the forward pass, counted as the MambaByte and SpaceByte papers do.
#pragma once

#include "ir/graph.h"

namespace mambac::tools {

/// Counted on the forward graph as the definition gives it, of the ops that lie along all free dimensions:
///
///   contractions                       2 for each multiply-add; but the head, which turns a model of tokens' last
///                                      values into logits, is left out
///   products of values with states     1 for each element (a value of two or more fixed dimensions: dt A, dt B, B u)
///   sums of such values                1 for each element that is read
///   scans                              1 for each element of the state
///   gates                              1 for each element: products of two values of the same dimensions that neither
///                                      is made from the other element by element (x sigmoid(x) is an activation)
///
/// and nothing for exponentials, activations, norms, biases, skips, residuals and the embedding. For MambaByte this
/// gives the papers' figures exactly: 713,025,536 for 353m (arXiv 2404.14408 prints 713M). The result is per position,
/// that is divided by the sizes of all free dimensions.
double paper_flops_per_position(const Graph& forward, const Bindings& sizes);

}  // namespace mambac::tools
