// The files of tools/report/.
#pragma once

#include "ir/embedded.h"

namespace mambac::tools {

std::span<const EmbeddedFile> report_files();

}  // namespace mambac::tools
