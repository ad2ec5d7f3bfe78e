// Values that a device computed against the interpreter, each by itself.
#pragma once

#include <functional>
#include <vector>

#include "tools/stored_values.h"

namespace mambac::tools {

/// What was found of one value.
struct ValueError {
  NodeId node;
  size_t element = 0;  // the worst one, in the order of the node's type
  double found = 0, expected = 0, bound = 0;
  double of_bound = 0;      // its error in units of its bound
  double since_inputs = 0;  // the largest difference from what the interpreter makes of the inputs alone, in units of
                            // the value's root mean square there
};

/// Over the elements that are finite; 0 of none.
double root_mean_square(const std::vector<double>& values);

/// |a - b|; 0 where both are NaN, infinite where one is not finite and the other is something else.
double difference(double a, double b);

/// Evaluates a fused graph, or a kernel of one (passes/kernel_alone.h), in float64. Each value that was found is
/// compared with what the interpreter makes of the values that were found before it, so that an error is seen where it
/// arises and not where it leads to; what comes after it is then made of the value that was found.
///
/// The bound of an element is what the roundings of its op may change (tools/rounding.h), what storing it rounds, and
/// four times what the roundings of the values in between change, which no memory holds: the largest change in
/// two evaluations in which these are moved within their own bounds, all elements of a value alike and each by itself,
/// and the root mean square of that over the value's elements.
///
/// In the order of nodes. `done` is told how many nodes were evaluated.
std::vector<ValueError> check_values(const Graph& graph, const Bindings& sizes, const Arrays& inputs,
                                     const FoundValues& found, const std::function<void(size_t)>& done);

}  // namespace mambac::tools
