// Held-out data, measured the same way each time.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/byte_source.h"
#include "runtime/executable.h"

namespace mambac {

/// Splits `count` windows of L + 1 bytes, one after the other, into what the model reads (the first L bytes of each)
/// and what it should say (the last L).
void split_windows(const uint8_t* windows, int64_t count, int64_t length, uint8_t* bytes, uint8_t* targets);

/// Makes room for what a graph reads, "bytes" u8[B, L], and what it should say, "targets" of the same size, and binds
/// them. A graph whose loss does not ask for targets lacks that input.
void bind_windows(Executable& graph, std::vector<uint8_t>& bytes, std::vector<uint8_t>& targets);

/// Windows evenly spread over the data, as many as asked for, rounded up to whole batches.
class HeldOut {
 public:
  /// `graph`: inputs "bytes" and perhaps "targets" u8[B, L], bound parameters, output "loss" f32[] in nats per byte.
  /// Sets the window of `data`. InputError when the data is shorter than L + 1 bytes.
  HeldOut(Executable& graph, ByteSource& data, int64_t windows);
  HeldOut(const HeldOut&) = delete;
  HeldOut& operator=(const HeldOut&) = delete;

  double bits_per_byte();

 private:
  Executable& graph_;
  const ByteSource& data_;
  int64_t batch_, length_, batches_;
  std::vector<uint8_t> windows_, bytes_, targets_;
  float loss_ = 0;
};

}  // namespace mambac
