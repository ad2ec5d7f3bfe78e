// From emitted text to what NVRTC is asked for.
#pragma once

#include <string>

#include "runtime/cuda/nvrtc.h"

namespace mambac::cuda {

/// The text of cuda_emit::emit behind the device header, for one architecture ("sm_90"). The name is that of messages.
CompileRequest request_for(const std::string& name, const std::string& text, const std::string& architecture);

/// The line of such a source on which the text's first line stands.
int first_line_of_text();

}  // namespace mambac::cuda
