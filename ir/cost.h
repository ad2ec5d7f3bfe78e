// What a graph costs, from the op table: work and traffic if every op ran by itself.
#pragma once

#include "ir/graph.h"

namespace mambac {

struct Cost {
  double flops = 0;
  double exponentials = 0;   // evaluations of exp, log and their like
  double bytes_read = 0;     // operands, each once
  double bytes_written = 0;  // the result

  Cost& operator+=(const Cost& other);
};

/// Sources (inputs, parameters, constants) cost nothing.
Cost cost_of(const Graph& graph, NodeId node, const Bindings& bindings);
/// The sum over all nodes.
Cost cost_of(const Graph& graph, const Bindings& bindings);

}  // namespace mambac
