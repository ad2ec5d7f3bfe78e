// Texts built for the host and loaded into this process.
#pragma once

#include <filesystem>
#include <string>

#include "codegen/cuda/emulation_abi.h"

namespace mambac {

/// The kernels of a text, the last one without a name; they stay loaded until the process ends. Errors: see
/// EmulatedModule::compile.
const mb_kernel* emulated_kernels(const std::string& text, const std::filesystem::path& cache_folder);

}  // namespace mambac
