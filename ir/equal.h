// Exact comparison of graphs.
#pragma once

#include <string>

#include "ir/graph.h"

namespace mambac {

/// Whether two graphs are the same in everything that print writes: dimensions, kernels and nodes in order, names,
/// operands, attributes, types, locations, parameters and outputs. `why` (may be null) receives the first difference.
bool equal(const Graph& a, const Graph& b, std::string* why = nullptr);

}  // namespace mambac
