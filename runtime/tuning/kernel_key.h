// What a kernel computes, whatever its schedule and wherever it stands: by which tuning knows it again.
#pragma once

#include <string>

#include "ir/graph.h"

namespace mambac {

struct KernelKey {
  /// The kernel's own graph, its values numbered, without places: ops, types, loops, fixed sizes, which values lie in
  /// memory. Two kernels with one text have the same legal schedules and do the same work at the same sizes.
  std::string text;
  std::vector<DimId> free;  // the free dimensions that it depends on, in the fused graph

  std::string digest() const;  // 32 hexadecimal digits
};

KernelKey kernel_key(const Graph& fused, int number);

/// The sizes of the kernel's free dimensions among `sizes`; a name that is not among these is left out.
Bindings sizes_for(const Graph& fused, const KernelKey& key, const Bindings& sizes);

}  // namespace mambac
