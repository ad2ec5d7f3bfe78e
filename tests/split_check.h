// Whether a sequence may be cut into a prefill and steps.
#pragma once

#include <string>

#include "tests/random_values.h"

namespace mambac::test {

/// The values of sequence inputs between two positions, everything else as it is.
Arrays between(const Graph& graph, DimId walk, const Arrays& values, int64_t begin, int64_t end);

/// Prefills the first `split` positions of a graph along L, steps through the others, and expects (GoogleTest) that all
/// outputs are those of the whole at every step, and that both graphs have the same states.
void expect_split(const Graph& graph, const Bindings& bindings, const Arrays& values, int64_t split,
                  const std::string& context, double tolerance = 1e-9);

}  // namespace mambac::test
