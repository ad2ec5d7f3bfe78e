// The meaning of loop IR, statement by statement: the oracle that emitted code is tested against.
#pragma once

#include <cstdint>

#include "codegen/loop_ir.h"

namespace mambac::loop {

/// Runs a kernel on this thread. Buffers and sizes are in the kernel's order. f32 arithmetic in the order written;
/// elementary functions as the C library has them in double, rounded to f32. Array elements start as NaN in each task,
/// so that a read before a write shows. `elements` (may be null) gives the number of elements of each buffer: an access
/// outside throws InternalError.
void interpret(const Kernel& kernel, void* const* buffers, const int64_t* sizes, const int64_t* elements = nullptr);

}  // namespace mambac::loop
