// Gather and scatter on a CPU.
#pragma once

#include <memory>

#include "runtime/device.h"
#include "runtime/library_shapes.h"

namespace mambac {

/// On all of OpenMP's threads where that pays; the bytes of the result do not depend on how many they are.
std::unique_ptr<Call> make_table_call(TableLookup call);

}  // namespace mambac
