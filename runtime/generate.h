// Writing text: the prompt goes through the parallel graph in chunks, then byte after byte through the step graph.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "runtime/executable.h"
#include "runtime/sampling.h"
#include "runtime/state.h"

namespace mambac {

struct GenerateOptions {
  int64_t bytes = 256;  // to write after each prompt
  SamplingOptions sampling{};
  uint64_t seed = 0;
};

/// Told each new byte: the index of its prompt, and the byte. Returns false to stop everything.
using ByteCallback = std::function<bool(size_t prompt, uint8_t byte)>;

class Generator {
 public:
  /// `step`: "bytes" u8[B] and "state.*" -> "logits" f32[B, 256] and "state.*.next". `prefill` (may be null: the prompt
  /// goes through `step` then): "bytes" u8[B, L] and the same states -> "logits" f32[B, L, 256] or f32[B, 256] (those
  /// after the last byte). `sampler` (may be null: the host draws then): models/sampling.mb, "logits" f32[B, 256],
  /// "uniform" f32[B] and the options -> "byte" u8[B], "wrong" f32[B]; with it the device writes many bytes between two
  /// visits of the host. All run on one device, and the caller has bound their parameters.
  Generator(Executable* prefill, Executable& step, Executable* sampler = nullptr);

  /// What the model remembers; for saving, cloning and restoring between calls of feed().
  State& state() { return state_; }

  /// Reads the same number of bytes in each of the B rows (rows[b] has `count` bytes). Afterwards logits() are those
  /// after the last byte.
  void feed(const std::vector<const uint8_t*>& rows, int64_t count);
  /// Logits of row b, after the last byte that was fed, as they are until the next call of this object.
  std::span<const float> logits(int64_t row) const;
  int64_t batch() const { return batch_; }

  /// Goes on from each prompt, in constant memory: bytes are handed over and forgotten. Prompts of different lengths
  /// share batches; what is written for a prompt depends on the prompt, its index and the options, not on its
  /// neighbours, but for the rounding by which step and prefill differ: prefill reads what the shortest prompt of the
  /// batch has whole chunks of. An empty prompt counts as a line feed. A sampler computes in f32 and the host in f64,
  /// so that a draw between two bytes may be either. InputError: options out of range, logits that are not finite.
  void stream(const std::vector<std::string>& prompts, const GenerateOptions& options, const ByteCallback& on_byte);
  /// The same, collected.
  std::vector<std::string> generate(const std::vector<std::string>& prompts, const GenerateOptions& options);

 private:
  struct Row;
  bool stream_batch(std::span<const std::string> prompts, size_t first, const GenerateOptions& options,
                    const ByteCallback& on_byte);
  bool stream_on_device(std::vector<Row>& rows, size_t first, const ByteCallback& on_byte);
  void bind_sampler();
  void set_sampling(const SamplingOptions& options);
  void run_step();

  Executable* prefill_;
  Executable& step_;
  Executable* sampler_;
  State state_;
  int64_t batch_ = 0, chunk_ = 0;
  int64_t steps_ = 0;  // so far
  MirroredArray<uint8_t> chunk_bytes_, step_bytes_;
  DeviceArray<float> chunk_logits_;
  MirroredArray<float> logits_;             // after the last byte
  DeviceArray<float> uniform_, wrong_;      // of one draw
  MirroredArray<float> sampling_;           // the sampler's options
  MirroredArray<float> uniforms_, wrongs_;  // [draws, B]
  MirroredArray<uint8_t> drawn_;            // [draws, B]
};

}  // namespace mambac
