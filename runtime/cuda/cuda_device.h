// An NVIDIA GPU as a device.
#pragma once

#include <memory>

#include "runtime/device.h"

namespace mambac {

/// The GPU of this number, as the driver counts them from 0. EnvironmentError when it cannot be used.
std::unique_ptr<Device> make_cuda_device(int ordinal);

}  // namespace mambac
