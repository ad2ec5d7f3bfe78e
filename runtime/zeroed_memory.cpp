#include "runtime/zeroed_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <utility>

#include "ir/error.h"

namespace mambac {

ZeroedMemory::ZeroedMemory(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  data_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data_ == MAP_FAILED) throw EnvironmentError(fmt::format("cannot allocate {} bytes of memory", bytes));
  if (bytes >= size_t{8} << 20) madvise(data_, bytes, MADV_HUGEPAGE);  // streams of weights miss the TLB less often
}

ZeroedMemory::~ZeroedMemory() {
  if (data_) munmap(data_, bytes_);
}

ZeroedMemory::ZeroedMemory(ZeroedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

ZeroedMemory& ZeroedMemory::operator=(ZeroedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace mambac
