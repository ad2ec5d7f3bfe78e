#include "runtime/cuda/driver_errors.h"

#include <fmt/format.h>

namespace mambac::cuda {

// The numbers are those of CUresult in the driver API reference.
Fault fault_of(Status status) {
  switch (status) {
    case kErrorOutOfMemory:
      return Fault::kOutOfMemory;
    case 4:    // deinitialised: the driver shuts down
    case 214:  // uncorrectable ECC error
    case 220:  // uncorrectable error of the NVLink
    case 226:  // contained memory error
    case 702:  // launch ran into the time limit
    case 709:  // context destroyed
    case 719:  // launch failed
      return Fault::kLostDevice;
    case 36:   // call requires a newer driver
    case 803:  // driver and system do not match
    case 804:  // forward compatibility not supported on this device
      return Fault::kOldDriver;
    case 200:  // invalid image
    case 209:  // no binary for this GPU
    case 218:  // invalid PTX
    case 222:  // PTX of an unsupported version
    case 300:  // invalid source
      return Fault::kRefusedImage;
    case 100:  // no device
    case 101:  // invalid device
      return Fault::kNoDevice;
    case 1:    // invalid value
    case 3:    // not initialised
    case 201:  // invalid context
    case 400:  // invalid handle
    case 500:  // not found
    case 700:  // illegal address
    case 701:  // out of resources: more registers or shared memory than a block can have
    case 710:  // assertion in a kernel
    case 714:  // hardware stack error
    case 715:  // illegal instruction
    case 716:  // misaligned address
    case 717:  // invalid address space
    case 718:  // invalid program counter
      return Fault::kBug;
    default:
      return status >= 900 && status <= 908 ? Fault::kBug : Fault::kOther;  // 900 to 908: capture of a stream misused
  }
}

bool spoils_context(Status status) {
  return status == 700 || (status >= 714 && status <= 718) || status == 710;
}

std::string status_text(const DriverApi& api, Status status) {
  const char* name = nullptr;
  const char* text = nullptr;
  if (api.cuGetErrorName(status, &name) != kSuccess || name == nullptr) return fmt::format("CUDA error {}", status);
  if (api.cuGetErrorString(status, &text) != kSuccess || text == nullptr) return name;
  return fmt::format("{} ({})", name, text);
}

}  // namespace mambac::cuda
