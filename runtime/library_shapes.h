// What a node of a library kernel asks for at given sizes, on any device: a matrix product, or rows of a table.
#pragma once

#include <cstdint>
#include <vector>

#include "codegen/place.h"
#include "ir/graph.h"
#include "runtime/gemm.h"

namespace mambac {

/// Where an operand or result lies in the memory of a call's roots.
struct CallOperand {
  size_t pointer = 0;  // which of the roots
  int64_t bytes = 0;   // from its beginning
  DType dtype = DType::f32;
  int64_t elements = 0;  // from there to the end of the root

  const void* in(void* const* pointers) const { return static_cast<const char*>(pointers[pointer]) + bytes; }
  void* out(void* const* pointers) const { return static_cast<char*>(pointers[pointer]) + bytes; }
};

/// C = op(A) op(B), see MatmulShape.
struct LibraryProduct {
  MatmulShape shape;
  CallOperand a, b, c;
  bool b_is_parameter = false;
};

/// One loop, and the strides in elements of what is met in it.
struct TableLoop {
  int64_t size = 1, values = 0, index = 0, table = 0;
};

/// gather: values = table[index]; scatter: table = 0, then table[index] += values. The loops nest, the last innermost,
/// and sums are made in their order. An index that is no row reads NaN, and adds nothing.
struct TableLookup {
  bool gather = true;
  std::vector<TableLoop> loops;
  int64_t rows = 0, row_stride = 0;
  int64_t table_elements = 0;
  CallOperand table, index, values;
};

/// The memory roots of a library node's pointers: of its operands, then of its result.
std::vector<NodeId> library_roots(const Graph& fused, const Layouts& layouts, NodeId node);

/// Of a Dot that is a library call (passes/contraction.h).
LibraryProduct library_product(const Graph& fused, const Layouts& layouts, NodeId node, const Bindings& bindings);

/// Of a Gather or Scatter.
TableLookup table_lookup(const Graph& fused, const Layouts& layouts, NodeId node, const Bindings& bindings);

}  // namespace mambac
