// The rules of loop IR.
#pragma once

#include "codegen/loop_ir.h"

namespace mambac::loop {

/// Throws InternalError, naming kernel, stage and value, when a kernel breaks a rule: every value is defined once and
/// before use in an enclosing block; loop variables are used inside their loops only; indices of buffers, arrays and
/// sizes exist; what is uniform and what is lanes fits; steps are positive; read-only buffers are not stored to, and
/// only they have others in their place.
void verify(const Kernel& kernel);

}  // namespace mambac::loop
