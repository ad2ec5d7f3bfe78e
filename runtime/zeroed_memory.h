// Large blocks of zeroed memory.
#pragma once

#include <cstddef>

namespace mambac {

/// Zeroed memory, aligned to a page (so to 64 bytes as well), resident only where it has been written.
/// EnvironmentError when the machine has not that much.
class ZeroedMemory {
 public:
  ZeroedMemory() = default;
  explicit ZeroedMemory(size_t bytes);
  ~ZeroedMemory();
  ZeroedMemory(ZeroedMemory&& other) noexcept;
  ZeroedMemory& operator=(ZeroedMemory&& other) noexcept;

  size_t bytes() const { return bytes_; }
  void* data() const { return data_; }
  float* floats() const { return static_cast<float*>(data_); }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace mambac
