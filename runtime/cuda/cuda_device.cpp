#include "runtime/cuda/cuda_device.h"

#include <fmt/format.h>

#include "ir/error.h"

namespace mambac {

std::unique_ptr<Device> make_cuda_device(int ordinal) {
  throw EnvironmentError(
      fmt::format("the device: found cuda:{}, but this build has no CUDA device; expected cpu or "
                  "cuda-emulated",
                  ordinal));
}

}  // namespace mambac
