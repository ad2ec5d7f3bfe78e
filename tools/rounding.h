// How far from its exact value each op may be when it is computed in f32.
#pragma once

#include <string_view>
#include <vector>

#include "ir/eval.h"

namespace mambac::tools {

/// What the roundings of an op are relative to.
enum class RoundedSize : uint8_t {
  none,    // it moves, compares or negates: nothing is rounded
  result,  // the result
  terms,   // the same op on the absolute values of what it adds up
  curve,   // the result, and what the result changes by when an operand is rounded twice
};

/// One row of the table of roundings, each of 2^-24.
struct Rounding {
  Op op;
  RoundedSize of = RoundedSize::none;
  double each = 0;      // roundings of one element
  double per_root = 0;  // and as many for each root of the number of terms (steps of a scan)
};

/// The row of an op.
const Rounding& rounding_of(Op op);

/// Bounds of what rounding does to one node's elements when its operands, in `values` by node index, are exact.
/// `result` is what evaluate_node makes of them.
std::vector<double> rounding_bounds(const Graph& graph, NodeId id, const Bindings& sizes,
                                    const std::vector<Array>& values, const Array& result);

/// What storing a number in this type may change: half the distance of neighbours; 0 for integers, and for f32, whose
/// rounding is the arithmetic's.
double storing_bound(DType dtype, double value);

}  // namespace mambac::tools
