// The model texts of models/.
#pragma once

#include "ir/embedded.h"

namespace mambac {

std::span<const EmbeddedFile> shipped_models();

}  // namespace mambac
