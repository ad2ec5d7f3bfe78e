// Memory of a device, and memory of the host that a device copies from and to by itself.
#pragma once

#include <cstddef>

#include "runtime/cuda/driver.h"

namespace mambac::cuda {

/// Aligned to 256 bytes or more, its content undefined. OutOfDeviceMemory says what was asked and what is free.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(const Device& device, size_t bytes);

  DevicePointer address() const { return memory_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  Owned<DevicePointer, &DriverApi::cuMemFree_v2> memory_;
  size_t bytes_ = 0;
};

/// Page-locked memory of the host: only copies from and to such memory run beside the host. EnvironmentError when the
/// system does not lock that much.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  PinnedMemory(const Device& device, size_t bytes);

  void* data() const { return memory_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  Owned<void*, &DriverApi::cuMemFreeHost> memory_;
  size_t bytes_ = 0;
};

}  // namespace mambac::cuda
