// The meaning of every op, in float64: the oracle that the generated kernels are tested against.
#pragma once

#include <cstdint>
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

/// The value of one node from those of its operands, which lie in `values` by node index. Sources from outside (inputs,
/// parameters) have none: InternalError.
Array evaluate_node(const Graph& graph, NodeId id, const Bindings& bindings, const std::vector<Array>& values);

/// For each node the last one that reads it: graph.size() for outputs, kNeverUsed for what no output needs.
constexpr size_t kNeverUsed = SIZE_MAX;
std::vector<size_t> last_uses(const Graph& graph);

/// The nearest value that the element type holds (integers: unchanged; f32: nearest float).
double round_to(DType dtype, double value);

/// The shape of a type under bindings.
std::vector<int64_t> shape_of(const Graph& graph, const Type& type, const Bindings& bindings);

}  // namespace mambac
