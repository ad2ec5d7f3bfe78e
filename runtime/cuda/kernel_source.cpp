#include "runtime/cuda/kernel_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/cuda/device_header.h"

namespace mambac::cuda {

CompileRequest request_for(const std::string& name, const std::string& text, const std::string& architecture) {
  return {fmt::format("{}\n{}", cuda_device_header(), text), name + ".cu", architecture, {}};
}

int first_line_of_text() {
  const std::string_view header = cuda_device_header();
  return static_cast<int>(std::count(header.begin(), header.end(), '\n')) + 2;
}

}  // namespace mambac::cuda
