// The calls between generated kernels: matrix products, table look-ups and their gradients.
#pragma once

#include <functional>
#include <memory>

#include "codegen/place.h"
#include "ir/graph.h"
#include "runtime/gemm.h"

namespace mambac {

/// A prepared call. Pointers are those of the memory roots of the node's operands, then of its result.
class LibraryCall {
 public:
  virtual ~LibraryCall() = default;
  virtual void run(void* const* pointers, void* scratch) = 0;
  virtual size_t scratch_bytes() const { return 0; }
};

/// The call for a node of a library kernel at these sizes. `memory` gives the roots in the order of the pointers.
std::unique_ptr<LibraryCall> make_library_call(const Graph& fused, const Layouts& layouts, NodeId node,
                                               const Bindings& bindings, std::vector<NodeId>* roots);

}  // namespace mambac
