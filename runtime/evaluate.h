// Bits per byte and word-level perplexity of a text under a model.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "runtime/byte_source.h"
#include "runtime/executable.h"

namespace mambac {

struct Evaluation {
  int64_t bytes = 0;         // of the text
  int64_t scored_bytes = 0;  // predicted ones: all but the first of each file, which has nothing before it
  int64_t words = 0;         // runs of bytes that are not white space
  double nats_per_byte = 0;
  double bits_per_byte = 0;
  double word_perplexity = 0;  // 2^(bits_per_byte * bytes / words); infinite without words
};

/// The words of a text: maximal runs of bytes other than space, \t, \n, \v, \f and \r.
int64_t count_words(const uint8_t* text, size_t bytes);

/// Scores every byte of every file once.
///
/// `graph`: inputs "bytes" and perhaps "targets" u8[B, L], bound parameters; output "nll" f32[B, L], the nats of each
/// target. The graph must be causal: the end of the last window is filled with zeros and not counted.
/// Windows of L bytes start every `stride` bytes (1 to L). With stride == L they lie side by side; with less, each byte
/// but those of the first window is scored by the window that sees at least L - stride bytes before it (sliding
/// context). `progress` (may be empty) is told the number of bytes scored so far after each batch. InputError: a stride
/// out of range, data without a byte to score, a loss that is not finite.
Evaluation evaluate(Executable& graph, const ByteSource& data, int64_t stride,
                    const std::function<void(int64_t)>& progress = {});

}  // namespace mambac
