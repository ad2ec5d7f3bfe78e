// A Mamba-1 layer (norm, mixer, residual) written with the Builder, for tests of what lies below the language.
#pragma once

#include "tests/random_values.h"

namespace mambac::test {

struct MixerOptions {
  int64_t width = 6;     // E
  int64_t channels = 8;  // D
  int64_t states = 3;    // N
  int64_t rank = 2;      // R
  int64_t taps = 3;      // K
  bool starts = false;   // an input "starts": packed sequences
  bool loss = false;     // an output "loss", the mean square of "out"; without it step forms exist
};

struct Mixer {
  Graph graph;  // inputs "x" [B, L, E] and "starts" [B, L]; outputs "out" [B, L, E] and "loss" []
  Ranges ranges;
};

Mixer make_mixer(const MixerOptions& options = {});

/// Central differences of output `name` (of its sum) by every element of one input or parameter.
Array finite_differences(const Graph& graph, const Bindings& bindings, const Arrays& values, const std::string& name,
                         const std::string& by, double step = 1e-5);

/// `value` between two positions along an axis; and one after the other.
Array cut(const Array& value, size_t axis, int64_t begin, int64_t end);
Array join(const Array& first, const Array& second, size_t axis);

}  // namespace mambac::test
