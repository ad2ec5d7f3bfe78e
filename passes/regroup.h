// Products by the dimensions of their factors.
#pragma once

#include "ir/graph.h"

namespace mambac {

/// Multiplies factors with few dimensions first, and takes out of a sum the factors that do not vary along it:
///
///   dt * B * u  over [B, L, D, N]        ->  (dt * u) * B      one product less for every state
///   sum<N>(lam * dt * B)                 ->  dt * sum<N>(lam * B)
///
/// Gradients are written op by op and so multiply everything at full size; in a walk those products are done for every
/// state at every step. Rounding changes in the last place, as for any order of factors. Types are kept exactly; where
/// they cannot be (the order of dimensions would change), the product stays as it was.
Graph regroup(const Graph& graph);

}  // namespace mambac
