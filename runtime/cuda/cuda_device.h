// An NVIDIA GPU as a device for programs: everything of CUDA that a program needs, behind runtime/device.h.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/device.h"

namespace mambac {

/// Opens the GPU of this number and the libraries that it takes: driver, NVRTC, cuBLASLt. InputError when there is no
/// such GPU; EnvironmentError, saying what was looked for and where, when a library is missing or does not go with the
/// others. `notice` is told, once, when compiled kernels cannot be kept on disk.
///
/// All work is put into one stream, and a call returns before it is done; a failure of the work is thrown by whatever
/// call of the device notices it first (runtime/cuda/driver_errors.h). To be used by one thread at a time.
std::unique_ptr<Device> make_cuda_device(int ordinal, const std::function<void(const std::string&)>& notice = {});

/// "cuda:0 (NVIDIA H100 PCIe, 79.2 GB)" for each GPU that the driver sees; none when there is no driver.
/// EnvironmentError when there is one that cannot be used.
std::vector<std::string> cuda_device_names();

}  // namespace mambac
