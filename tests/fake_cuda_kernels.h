// The kernels of what the fake NVRTC takes for machine code.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/cuda/emulator.h"
#include "tests/fake_cuda_work.h"

namespace mambac::fake {

/// A text behind codegen/cuda/device_header.h's is run by the emulator. Of any other text only add_one(float* data, int
/// n) does something: it adds 1 to n numbers.
class Kernels {
 public:
  /// Builds the text; throws what EmulatedModule::compile does.
  explicit Kernels(const std::string& source);

  std::vector<std::string> names() const;
  bool has(const std::string& name) const;
  /// What a launch does. `arguments` are read now, as cuLaunchKernelEx does. Fault when it does not fit the kernel.
  Work launch(const std::string& name, int64_t blocks, int threads, void** arguments) const;
  /// Whether each of them waits for the kernels before it.
  bool await_kernels() const;

 private:
  Work add_one(void** arguments) const;

  std::string source_;
  std::shared_ptr<const EmulatedModule> module_;  // null: another text
};

}  // namespace mambac::fake
