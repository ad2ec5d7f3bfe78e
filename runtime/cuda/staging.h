// Copies between any memory of the host and a device, by way of memory that the device copies from and to by itself.
#pragma once

#include <cstddef>
#include <vector>

#include "runtime/cuda/memory.h"
#include "runtime/cuda/stream.h"

namespace mambac::cuda {

/// A ring of page-locked pieces. While the device copies one, the host fills or empties the next.
class Staging {
 public:
  /// Makes its copies in `stream`, in order with what is there.
  explicit Staging(Stream& stream);

  /// Returns when `from` may be used again; the last pieces may still be on their way.
  void upload(DevicePointer to, const void* from, size_t bytes);
  /// Returns when all of `to` is there.
  void download(void* to, DevicePointer from, size_t bytes);

  static constexpr size_t kPieceBytes = size_t{4} << 20;

 private:
  struct Piece {
    PinnedMemory memory;
    Event copied;  // the device is done with the piece
  };
  Piece& next();

  Stream& stream_;
  std::vector<Piece> pieces_;
  size_t at_ = 0;
};

}  // namespace mambac::cuda
