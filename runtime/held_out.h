// Held-out data, measured the same way each time.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/byte_source.h"
#include "runtime/device_array.h"

namespace mambac {

/// A batch of what a graph reads, "bytes" u8[B, L], and what it should say, "targets" of the same size, bound to it. A
/// graph whose loss does not ask for targets lacks that input.
class WindowBatch {
 public:
  explicit WindowBatch(Executable& graph);

  int64_t batch() const { return batch_; }
  int64_t length() const { return length_; }
  size_t planned_bytes() const { return bytes_.bytes() + targets_.bytes(); }

  /// Memory of the host, [B, L]; the graph reads what lay there at the last upload().
  uint8_t* bytes() const { return bytes_.host(); }
  uint8_t* targets() const { return targets_.host(); }
  void upload() const;

  /// Splits B windows of L + 1 bytes, one after the other, into what the model reads (the first L bytes of each) and
  /// what it should say (the last L), and uploads them.
  void set(const uint8_t* windows) const;

 private:
  int64_t batch_, length_;
  MirroredArray<uint8_t> bytes_, targets_;
};

/// Windows evenly spread over the data, as many as asked for, rounded up to whole batches.
class HeldOut {
 public:
  /// `graph`: inputs "bytes" and perhaps "targets" u8[B, L], bound parameters, output "loss" f32[] in nats per byte.
  /// Sets the window of `data`. InputError when the data is shorter than L + 1 bytes.
  HeldOut(Executable& graph, ByteSource& data, int64_t windows);
  HeldOut(const HeldOut&) = delete;
  HeldOut& operator=(const HeldOut&) = delete;

  /// Not finite as soon as the loss of a batch is; the graph is then bound to that batch.
  double bits_per_byte();

 private:
  Executable& graph_;
  const ByteSource& data_;
  WindowBatch windows_;
  int64_t batches_;
  std::vector<uint8_t> drawn_;
  MirroredArray<float> loss_;
};

}  // namespace mambac
