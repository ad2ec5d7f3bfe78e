#include "runtime/cuda/staging.h"

#include <algorithm>
#include <cstring>

namespace mambac::cuda {
namespace {

constexpr size_t kPieces = 4;

}  // namespace

Staging::Staging(Stream& stream) : stream_(stream) {
  for (size_t i = 0; i < kPieces; ++i)
    pieces_.push_back({PinnedMemory(stream.device(), kPieceBytes), Event(stream.device())});
}

Staging::Piece& Staging::next() {
  at_ = (at_ + 1) % pieces_.size();
  return pieces_[at_];
}

void Staging::upload(DevicePointer to, const void* from, size_t bytes) {
  for (size_t done = 0; done < bytes; done += kPieceBytes) {
    const size_t now = std::min(kPieceBytes, bytes - done);
    Piece& piece = next();
    piece.copied.synchronize();
    std::memcpy(piece.memory.data(), static_cast<const char*>(from) + done, now);
    stream_.copy_to_device(to + done, piece.memory.data(), now);
    stream_.record(piece.copied);
  }
}

void Staging::download(void* to, DevicePointer from, size_t bytes) {
  const size_t count = (bytes + kPieceBytes - 1) / kPieceBytes;
  const auto size_of_piece = [&](size_t i) { return std::min(kPieceBytes, bytes - i * kPieceBytes); };
  std::vector<Piece*> under_way(count);
  for (size_t ordered = 0, taken = 0; taken < count; ++taken) {
    for (; ordered < count && ordered < taken + pieces_.size(); ++ordered) {
      Piece& piece = *(under_way[ordered] = &next());
      stream_.copy_to_host(piece.memory.data(), from + ordered * kPieceBytes, size_of_piece(ordered));
      stream_.record(piece.copied);
    }
    under_way[taken]->copied.synchronize();
    std::memcpy(static_cast<char*>(to) + taken * kPieceBytes, under_way[taken]->memory.data(), size_of_piece(taken));
  }
}

}  // namespace mambac::cuda
