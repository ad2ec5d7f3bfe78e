// Numbers to run a graph on when there are no data.
#pragma once

#include "tools/run_data.h"

namespace mambac::tools {

/// Sizes for the free dimensions of a graph that have none yet: 2 for the first one, and 37 for the others, which is
/// some tiles of a walk and a part of one.
Bindings with_default_sizes(const Graph& graph, Bindings sizes);

/// A value for each input and parameter, by node name: parameters as in complete_values, floats uniform from -1 to 1,
/// integers as large as what they index allows (of a byte 255), marks of beginnings (`starts`) at one step in eight. All
/// as their types hold them. The numbers of an input depend on the seed and on its name.
Arrays random_inputs(const Graph& graph, const Bindings& sizes, const ParameterSource& source);

}  // namespace mambac::tools
