// Indices of look-ups that come from outside, before a device reads by them.
#pragma once

#include "ir/eval.h"

namespace mambac::tools {

/// InputError, as the interpreter says it, for a look-up whose indices are an input, or what ops that only move values
/// make of inputs, and do not all lie within the dimension. Indices that a graph computes are known to nobody before it
/// runs.
void check_indices(const Graph& graph, const Bindings& sizes, const Arrays& values);

}  // namespace mambac::tools
