// Reverse accumulation on the primitive ops, before any fusion.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace mambac {

/// The forward graph with the gradient of one of its outputs (of its sum, when it has dimensions) appended.
///
/// `wrt` names parameters (by checkpoint name or node name) and inputs; empty: all parameters. Gradients are further
/// outputs, "grad.<checkpoint name>" and "grad.<input>", with all dimensions of what they belong to; a target that the
/// output does not depend on has a gradient of zeros. Their order in memory is the target's, except that free
/// dimensions come first in the order of their declaration, as in every value that ops make.
///
/// `recompute`: how many parts of the forward pass (passes/segments.h), from the first on, are computed again when their
/// gradients are due. Of such a part only its end is kept in between, where otherwise every value is that a rule reads.
///
/// Done here, on ops that each have one short rule, and not on fused kernels: the backward pass is then fused by the
/// same code as the forward pass, and a new op needs no new kernel. The gradient of a scan is a scan the other way.
///
/// Gradients of `x` are named "x.grad" and have the location of the op they come from. Contributions to one value are
/// added from the last use to the first. InputError where the output depends on a target through an op without a
/// gradient.
Graph differentiate(const Graph& forward, const std::string& output, const std::vector<std::string>& wrt = {},
                    int recompute = 0);

/// The same for the sum over all outputs of float type of sum(output * seed), where "seed.<output>" are new inputs of
/// the outputs' types. Empty `wrt`: all parameters and all inputs of float type.
Graph differentiate_with_seeds(const Graph& forward, const std::vector<std::string>& wrt = {});

}  // namespace mambac
