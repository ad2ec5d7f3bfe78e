// Where everything of a program lies in its arena at given sizes.
#pragma once

#include <cstdint>
#include <vector>

#include "codegen/lower.h"
#include "ir/graph.h"
#include "passes/plan.h"

namespace mambac {

struct Placement {
  std::vector<int64_t> value_offset;            // by node, of values in the arena; -1: elsewhere
  std::vector<std::vector<int64_t>> temporary;  // by kernel and buffer; -1: no temporary
  std::vector<Lifetime> lifetimes;
  int64_t bytes = 0;
};

/// `constant_parameters`: see ExecutableOptions. InputError when a size is missing or overflows.
Placement place_all(const Graph& fused, const std::vector<LoweredKernel>& lowered, const Bindings& bindings,
                    bool constant_parameters);

/// The sizes that a kernel is called with.
std::vector<int64_t> sizes_of(const loop::Kernel& kernel, const Bindings& bindings);

/// The elements of each of a kernel's buffers.
std::vector<int64_t> elements_of(const Graph& fused, const LoweredKernel& lowered, const Bindings& bindings);

}  // namespace mambac
