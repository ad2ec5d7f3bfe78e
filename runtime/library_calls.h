// The calls between generated kernels on a CPU: matrix products, table look-ups and their gradients.
#pragma once

#include <memory>

#include "ir/graph.h"
#include "runtime/device.h"

namespace mambac {

/// See Device::library_call. The roots are those of the node's operands, then of its result. With constant parameters a
/// product packs its weight in its first run and after forget() only.
std::unique_ptr<Call> make_library_call(const LibraryKernel& kernel, std::vector<NodeId>* roots);

}  // namespace mambac
