// The report of a survey: what predictions are worth, kernel by kernel.
#pragma once

#include <vector>

#include "tools/tune_model.h"

namespace mambac::tools {

/// To standard output, as a table or as JSON.
void print_survey(const std::vector<TunedKernel>& kernels, bool json);

}  // namespace mambac::tools
