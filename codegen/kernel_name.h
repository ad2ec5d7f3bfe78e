// What a kernel is called in emitted code, and by users.
#pragma once

#include <string>

#include "ir/graph.h"

namespace mambac {

/// "mamba_fwd_softplus_discretize_scan_sum_gate_bf16": the definition (its file) that most of the kernel's nodes come
/// from; fwd, or bwd when it computes gradients; what its nodes do, each thing once; the narrowest float type that it
/// keeps in memory. The same for equal kernels of different layers; at most 80 characters. Of a library kernel, which
/// has no emitted code: "mamba_fwd_dot_bf16".
std::string kernel_name(const Graph& fused, int number);

/// Whether a text that a user gave names this kernel: by its number ("k1", but not for k10), by its name in the fused
/// graph or the first words of that ("k1_rows"), or by a part of what kernel_name calls it ("softplus_discretize",
/// "dot"). The empty text names every kernel.
bool names_kernel(const std::string& text, const Graph& fused, int number);

}  // namespace mambac
