// The meaning of every op, in float64: the oracle that the generated kernels are tested against.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace mambac {

/// A dense row-major tensor; ids (u8, i32) are doubles too.
struct Array {
  std::vector<int64_t> shape;
  std::vector<double> data;
};

using Arrays = std::map<std::string, Array>;

struct EvalOptions {
  /// Values of type bf16 and f16 are rounded to that type (nearest, ties to even). Off: everything is float64.
  bool round_storage = false;
};

/// The graph's outputs by output name. `values` holds every input and parameter by node name, shaped as its type is
/// under the bindings. InputError when one is missing or has another shape, or an index of gather is out of range.
Arrays evaluate(const Graph& graph, const Bindings& bindings, const Arrays& values, const EvalOptions& options = {});

/// The nearest value that the element type holds (integers: unchanged; f32: nearest float).
double round_to(DType dtype, double value);

/// The shape of a type under bindings.
std::vector<int64_t> shape_of(const Graph& graph, const Type& type, const Bindings& bindings);

}  // namespace mambac
