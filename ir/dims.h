// Lists of dimensions as ordered sets, and the one rule for the order of dimensions in a result.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace mambac {

using Dims = std::vector<DimId>;

bool contains(const Dims& dims, DimId dim);
/// The dims of `first`, then those of `second` that it lacks.
Dims joined(Dims first, const Dims& second);
/// The dims that are not in `removed`, order kept.
Dims without(const Dims& dims, const Dims& removed);
/// The dims that both have, in the order of the first.
Dims common(const Dims& first, const Dims& second);
/// `dims` with one replaced by another in the same place.
Dims replaced(Dims dims, DimId from, DimId to);

/// Order of a result: free dimensions in the order of their declaration, then the others in the given order.
Dims ordered(const Graph& graph, const Dims& dims);
/// `dims` with a new one: a free dimension where `ordered` has it, another one right before the first fixed one.
Dims inserted(const Graph& graph, const Dims& dims, DimId dim);

/// "L" for a free dimension, "N = 16" for a fixed one.
std::string dim_text(const Graph& graph, DimId dim);
/// "[B, L, D]"
std::string dims_text(const Graph& graph, const Dims& dims);

}  // namespace mambac
