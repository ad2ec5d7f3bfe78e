// What a status of the CUDA driver means to a user, and the failures that a caller may want to answer.
#pragma once

#include <cstddef>
#include <string>

#include "ir/error.h"
#include "runtime/cuda/driver_api.h"

namespace mambac::cuda {

/// There is not enough memory on the device. A caller that knows its plan says what it needs and what would fit.
class OutOfDeviceMemory : public EnvironmentError {
 public:
  OutOfDeviceMemory(const std::string& message, size_t asked, size_t free, size_t total)
      : EnvironmentError(message), asked_(asked), free_(free), total_(total) {}
  size_t asked() const { return asked_; }  // bytes; 0 when the driver asked for itself
  size_t free() const { return free_; }    // bytes; 0 when not even that could be learned
  size_t total() const { return total_; }

 private:
  size_t asked_, free_, total_;
};

/// The device, or this process's hold on it, is gone: every later call fails. Only a new process can use it again.
class LostDevice : public EnvironmentError {
 public:
  using EnvironmentError::EnvironmentError;
};

/// The driver does not take a piece of machine code: made for another device or by a newer toolkit, or damaged.
class RefusedImage : public EnvironmentError {
 public:
  using EnvironmentError::EnvironmentError;
};

enum class Fault {
  kOutOfMemory,
  kLostDevice,    // ECC errors, a fault of the hardware or its link, a launch that failed or ran into the time limit
  kOldDriver,     // the driver lacks what was asked of it
  kRefusedImage,  // machine code that this driver or device does not take
  kNoDevice,
  kBug,  // a call that mambac should not have made, or a kernel that touched what it must not
  kOther,
};

Fault fault_of(Status status);

/// Whether a kernel did something wrong that the process's hold on the device does not survive.
bool spoils_context(Status status);

/// "CUDA_ERROR_LAUNCH_FAILED (unspecified launch failure)"
std::string status_text(const DriverApi& api, Status status);

}  // namespace mambac::cuda
