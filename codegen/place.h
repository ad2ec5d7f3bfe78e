// Where a value lies in memory: the buffer that holds it and the index of each of the buffer's dimensions.
#pragma once

#include <map>
#include <vector>

#include "codegen/loop_ir.h"
#include "ir/graph.h"

namespace mambac {

/// The order of a stored value's dimensions in memory. It is the order of its type, except for values that no caller
/// and no library sees: states at tiles keep channels last, and gradients take the order of their parameter.
class Layouts {
 public:
  explicit Layouts(const Graph& fused);
  const std::vector<DimId>& of(const Graph& fused, NodeId root) const;
  /// The join whose memory holds the value, with the operand's position; absent when the value has its own memory.
  std::pair<NodeId, int> join_of(NodeId value) const;

 private:
  std::map<uint32_t, std::vector<DimId>> special_;
  std::map<uint32_t, std::pair<NodeId, int>> joins_;
};

/// One dimension of a buffer: indexed by a dimension of the value plus an offset, or by the offset alone.
struct MemoryIndex {
  DimId root_dim;
  DimId from{};        // absent: the offset is the index
  int64_t offset = 0;  // negative without `from`: counted from the end
};

struct MemoryPlace {
  NodeId root;                     // the value that owns the memory
  std::vector<MemoryIndex> indices; // in the order of the root's layout, outermost first
};

/// Follows views and joins from a stored value to the memory that holds it.
MemoryPlace place_of(const Graph& fused, const Layouts& layouts, NodeId value);

}  // namespace mambac
