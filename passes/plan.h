// Memory planning: which values of a fused graph live in memory, from which kernel to which, and where in one arena.
#pragma once

#include <cstdint>
#include <vector>

#include "ir/graph.h"

namespace mambac {

/// Something that needs memory from kernel `first` to kernel `last`, both included.
struct Lifetime {
  int64_t bytes = 0;
  int first = 0;
  int last = 0;
};

/// The first offset from `from` on where a value may begin, a multiple of 64. Values of a page or more, numbered one
/// after the other, begin at different places of their pages: elements of the same number, which kernels come to together,
/// would otherwise all share a set of the L1 cache, and with them their rows where a row is whole pages.
int64_t place_of_value(size_t number, int64_t bytes, int64_t from);

/// Offsets, each by place_of_value, so that lifetimes that overlap do not share memory.
struct ArenaPlan {
  std::vector<int64_t> offsets;
  int64_t bytes = 0;
};

/// Largest first, each at the lowest offset that is free for its whole lifetime.
ArenaPlan plan_arena(const std::vector<Lifetime>& lifetimes);

/// A value that owns memory, other than the inputs, parameters and outputs that the caller binds.
struct StoredValue {
  NodeId root;
  Lifetime lifetime;
};

/// Generated kernels that read parameters, and each other, and nothing else, and give no output: while parameters keep
/// their values, one run is enough.
std::vector<bool> constant_kernels(const Graph& fused);

/// The values of a fused graph that live in the arena, with their lifetimes in kernels. `constant_parameters`: those of
/// constant kernels stay from one run to the next. InputError when a size overflows.
std::vector<StoredValue> stored_values(const Graph& fused, const Bindings& bindings, bool constant_parameters);

/// The value whose memory holds this one: views and joins followed to their end.
NodeId memory_root(const Graph& fused, NodeId value, const std::vector<NodeId>& join_of);
/// For every node the join that holds it; absent when it has its own memory.
std::vector<NodeId> joins_of(const Graph& fused);

}  // namespace mambac
