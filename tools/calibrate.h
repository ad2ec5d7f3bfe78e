// The description of a device that is there, measured: what `mambac tune --calibrate` writes.
#pragma once

#include <string>

#include "runtime/device.h"

namespace mambac::tools {

/// The text of a device description (models/devices/): of a CPU all numbers are measured or asked of the processor; of
/// a GPU bandwidth and clock are, and the others are those of the shipped description that is nearest. EnvironmentError
/// when there is none of a GPU.
std::string calibrated(Device& device);

}  // namespace mambac::tools
