// The kernels of a text in the vocabulary of codegen/cuda/device_header.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mambac {

struct KernelSignature {
  std::string name;
  std::string threads;                  // of a block, as written
  std::vector<std::string> parameters;  // their names
};

/// All `MB_KERNEL(threads, blocks) name(parameters)`, in their order; comments do not count. InternalError when one is
/// not complete.
std::vector<KernelSignature> kernels_of(std::string_view text);

}  // namespace mambac
