// The device descriptions that every build carries: models/devices/.
#pragma once

#include <span>

#include "ir/embedded.h"

namespace mambac::tools {

std::span<const EmbeddedFile> device_files();

}  // namespace mambac::tools
