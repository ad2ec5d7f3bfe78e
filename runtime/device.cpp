#include "runtime/device.h"

#include <algorithm>
#include <vector>

#include "runtime/memory_use.h"

namespace mambac {

namespace {

/// Calls `use` with places and sizes of pieces that are small for the host.
template <typename Use>
void in_pieces(size_t bytes, const Use& use) {
  constexpr size_t kPiece = size_t{4} << 20;
  for (size_t at = 0; at < bytes; at += kPiece) use(at, std::min(kPiece, bytes - at));
}

}  // namespace

int64_t Device::free_memory() const {
  return available_memory();
}

std::unique_ptr<DeviceMemory> Device::allocate_zeroed(int64_t bytes) {
  auto memory = allocate(bytes);
  zero(memory->data(), memory->bytes());
  return memory;
}

void Device::zero(void* to, size_t bytes) {
  std::vector<char> zeros;
  in_pieces(bytes, [&](size_t at, size_t count) {
    zeros.resize(std::max(zeros.size(), count));
    upload(static_cast<char*>(to) + at, zeros.data(), count);
  });
}

void Device::copy(void* to, const void* from, size_t bytes) {
  std::vector<char> piece;
  in_pieces(bytes, [&](size_t at, size_t count) {
    piece.resize(std::max(piece.size(), count));
    download(piece.data(), static_cast<const char*>(from) + at, count);
    upload(static_cast<char*>(to) + at, piece.data(), count);
  });
}

void Device::read(const void* from, size_t bytes, const std::function<void(const void*, size_t)>& use) {
  if (memory_is_host()) return use(from, bytes);
  std::vector<char> piece;
  in_pieces(bytes, [&](size_t at, size_t count) {
    piece.resize(std::max(piece.size(), count));
    download(piece.data(), static_cast<const char*>(from) + at, count);
    use(piece.data(), count);
  });
}

}  // namespace mambac
