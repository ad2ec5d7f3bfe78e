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
  /// What it keeps of constant parameters, and that they have changed.
  virtual size_t kept_bytes() const { return 0; }
  virtual void forget() {}
};

/// The call for a node of a library kernel at these sizes. `roots` receives the memory roots in the order of the
/// pointers. With constant parameters a product packs its weight in its first run and after forget() only.
std::unique_ptr<LibraryCall> make_library_call(const Graph& fused, const Layouts& layouts, NodeId node,
                                               const Bindings& bindings, bool constant_parameters,
                                               std::vector<NodeId>* roots);

}  // namespace mambac
