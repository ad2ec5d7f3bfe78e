#include "runtime/cuda/memory.h"

#include <fmt/format.h>

#include "runtime/progress.h"

namespace mambac::cuda {
namespace {

std::string amount(size_t bytes) {
  return byte_text(static_cast<double>(bytes));
}

}  // namespace

DeviceMemory::DeviceMemory(const Device& device, size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;  // the driver refuses to allocate nothing
  device.enter();
  DevicePointer address = 0;
  const Status status = device.api().cuMemAlloc_v2(&address, bytes);
  if (status == kErrorOutOfMemory) device.fail_out_of_memory(fmt::format("reserve {}", amount(bytes)), bytes);
  device.expect(status, "reserve device memory of", amount(bytes));
  memory_ = {device, address};
}

PinnedMemory::PinnedMemory(const Device& device, size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  device.enter();
  void* address = nullptr;
  const Status status = device.api().cuMemHostAlloc(&address, bytes, 0);
  // The driver's code for this is that of device memory.
  if (status == kErrorOutOfMemory)
    throw EnvironmentError(
        fmt::format("{}: cannot lock {} of the host's memory for copies; free some, or raise the limit "
                    "('ulimit -l')",
                    device.str(), amount(bytes)));
  device.expect(status, "lock host memory of", amount(bytes));
  memory_ = {device, address};
}

}  // namespace mambac::cuda
