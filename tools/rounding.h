// How far from its exact value each op may be when it is computed in f32.
#pragma once

#include <vector>

#include "ir/eval.h"

namespace mambac::tools {

/// Bounds of what rounding does to one node's elements when its operands, in `values` by node index, are exact.
/// `result` is what evaluate_node makes of them.
std::vector<double> rounding_bounds(const Graph& graph, NodeId id, const Bindings& sizes,
                                    const std::vector<Array>& values, const Array& result);

/// What storing a number in this type may change: half the distance of neighbours; 0 for integers, and for f32, whose
/// rounding is the arithmetic's.
double storing_bound(DType dtype, double value);

}  // namespace mambac::tools
