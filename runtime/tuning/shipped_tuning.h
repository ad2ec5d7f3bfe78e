// The records of models/tuned/, as texts.
#pragma once

#include "ir/embedded.h"

namespace mambac {

std::span<const EmbeddedFile> shipped_tuning_files();

}  // namespace mambac
