// Graphs that nobody wrote, drawn from the op table.
#pragma once

#include <string>

#include "tests/random_values.h"

namespace mambac::test {

struct RandomGraphOptions {
  int nodes = 24;                   // ops drawn, besides sources and what keeps values in range
  bool differentiable = true;       // only ops that have a gradient which is that of their value
  bool step_form = false;           // only ops that have a step form along L
  int64_t most_elements = 1 << 13;  // of one value
};

/// A graph over the free dimensions B and L and the fixed ones D, N, N2 (of the size of N), K, R, RN (= R + N), RR
/// (= 2 R), V and T (= 2), with inputs (x..., index..., mask...), parameters (p...), outputs and values for them. At
/// these values all values stay moderate and away from the poles and jumps of the ops, so that f32 and f64 must agree,
/// and gradients (when differentiable; not of masks) with finite differences.
struct RandomGraph {
  Graph graph;
  Bindings bindings;
  Arrays values;  // of inputs and parameters
};

/// The same seed and options give the same graph and values.
RandomGraph random_graph(uint64_t seed, const RandomGraphOptions& options = {});

}  // namespace mambac::test
