// Launches of loaded kernels as a call of a program.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/cuda/library_kernels.h"
#include "runtime/cuda/stream.h"
#include "runtime/cuda/text_loader.h"
#include "runtime/device.h"

namespace mambac::cuda {

/// One kernel after another, all with the same arguments: addresses, then numbers. All that depends on sizes is settled
/// when it is made.
class LaunchCall : public Call {
 public:
  struct Step {
    std::string symbol;
    int64_t blocks = 0;
    int threads = 0;
    bool awaits_kernels = false;  // see LaunchShape
  };
  /// Which of the pointers an argument is, and how many bytes behind it.
  struct Address {
    size_t pointer = 0;
    int64_t bytes = 0;
  };

  LaunchCall(Stream& stream, std::shared_ptr<const LoadedText> text, const std::vector<Step>& steps,
             std::vector<Address> addresses, std::vector<int64_t> numbers);
  /// Of a library kernel, whose text it loads.
  LaunchCall(Stream& stream, TextLoader& texts, const LibraryLaunch& launch);
  LaunchCall(const LaunchCall&) = delete;
  LaunchCall& operator=(const LaunchCall&) = delete;

  void run(void* const* pointers, void* scratch) override;

 private:
  struct Launch {
    Kernel kernel;
    LaunchShape shape;
  };

  Stream& stream_;
  std::shared_ptr<const LoadedText> text_;
  std::vector<Launch> launches_;
  std::vector<Address> addresses_;
  std::vector<DevicePointer> pointers_;  // as the kernels get them
  std::vector<int64_t> numbers_;
  std::vector<void*> arguments_;  // point at the elements of both
};

}  // namespace mambac::cuda
