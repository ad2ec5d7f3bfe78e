// What 'doctor' says about CUDA: the libraries, where they were looked for, and the devices.
#pragma once

#include "tools/arguments.h"

namespace mambac::tools {

void print_cuda_text();
Json cuda_json();

}  // namespace mambac::tools
