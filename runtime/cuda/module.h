// Machine code on a device, and its kernels.
#pragma once

#include <string>

#include "runtime/cuda/driver.h"

namespace mambac::cuda {

/// What a kernel takes on the device at hand, as the driver says.
struct KernelResources {
  int registers = 0;            // per thread
  int local_bytes = 0;          // per thread: spilled registers and arrays that are indexed
  int static_shared_bytes = 0;  // per block
  int max_threads = 0;          // of a block, given those registers
};

/// A kernel of a Module; valid as long as that is.
class Kernel {
 public:
  Kernel(const Device& device, FunctionHandle handle, std::string name)
      : device_(&device), handle_(handle), name_(std::move(name)) {}

  const std::string& name() const { return name_; }
  FunctionHandle handle() const { return handle_; }

  KernelResources resources() const;
  /// Must be called before a launch with more than 48 KiB of dynamic shared memory. EnvironmentError when the device's
  /// blocks cannot have that much.
  void allow_dynamic_shared(size_t bytes) const;
  /// Blocks of so many threads that a multiprocessor holds at a time.
  int blocks_per_multiprocessor(int threads, size_t dynamic_shared_bytes) const;

 private:
  const Device* device_;
  FunctionHandle handle_;
  std::string name_;
};

class Module {
 public:
  /// Loads machine code (a cubin). RefusedImage when driver or device do not take it; the message has `origin` (which
  /// says what made it: "k5.cu by NVRTC 13.0 for sm_90") and both versions.
  Module(const Device& device, const std::string& cubin, const std::string& origin);

  /// By the name in the machine code, that of an extern "C" function.
  Kernel kernel(const std::string& name) const;

 private:
  Owned<ModuleHandle, &DriverApi::cuModuleUnload> module_;
};

}  // namespace mambac::cuda
