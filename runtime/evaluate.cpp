#include "runtime/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "ir/error.h"
#include "ir/trace.h"
#include "runtime/held_out.h"
#include "runtime/parameters.h"

namespace mambac {
namespace {

/// One row of a batch: which of its positions count.
struct Row {
  int64_t from = 0, to = 0;
};

class Scorer {
 public:
  Scorer(Executable& graph, int64_t stride, const std::function<void(int64_t)>& progress)
      : graph_(graph),
        stride_(stride),
        progress_(progress),
        windows_(graph),
        batch_(windows_.batch()),
        length_(windows_.length()),
        nll_(graph.device(), batch_ * length_) {
    if (stride < 1 || stride > length_)
      throw InputError(
          fmt::format("the stride of evaluation: found {}, expected 1 to {} (the context)", stride, length_));
    check(port(graph.outputs(), "nll", DType::f32).elements == batch_ * length_, "evaluate: nll is not [B, L]");
    bind_memory(graph, "nll", nll_.on_device());
  }

  void file(const MappedFile& file) {
    const int64_t predictions = static_cast<int64_t>(file.size()) - 1;
    int64_t scored = 0;
    for (int64_t start = 0; scored < predictions; start += stride_) {
      const int64_t end = std::min(start + length_, predictions);
      add(file, start, end, {scored - start, end - start});
      scored = end;
    }
  }

  /// Scores the rows that are still waiting.
  void flush() {
    if (rows_.empty()) return;
    const trace::Span span("step", "score from byte", scored_);
    windows_.upload();
    graph_.run();
    nll_.download();
    for (size_t i = 0; i < rows_.size(); ++i)
      for (int64_t t = rows_[i].from; t < rows_[i].to; ++t)
        sum_ += static_cast<double>(nll_.host()[i * static_cast<size_t>(length_) + static_cast<size_t>(t)]);
    for (const Row& row : rows_) scored_ += row.to - row.from;
    rows_.clear();
    if (!std::isfinite(sum_))
      throw InputError(
          fmt::format("the model's loss is not finite within the first {} bytes of the data", scored_ + 1));
    if (progress_) progress_(scored_);
  }

  double sum() const { return sum_; }
  int64_t scored() const { return scored_; }

 private:
  void add(const MappedFile& file, int64_t start, int64_t end, Row row) {
    const size_t at = rows_.size() * static_cast<size_t>(length_);
    const size_t count = static_cast<size_t>(end - start);
    const size_t rest = static_cast<size_t>(length_) - count;
    std::memcpy(windows_.bytes() + at, file.data() + start, count);
    std::memcpy(windows_.targets() + at, file.data() + start + 1, count);
    std::memset(windows_.bytes() + at + count, 0, rest);
    std::memset(windows_.targets() + at + count, 0, rest);
    rows_.push_back(row);
    if (static_cast<int64_t>(rows_.size()) == batch_) flush();
  }

  Executable& graph_;
  int64_t stride_;
  const std::function<void(int64_t)>& progress_;
  WindowBatch windows_;
  int64_t batch_, length_, scored_ = 0;
  MirroredArray<float> nll_;
  std::vector<Row> rows_;
  double sum_ = 0;
};

}  // namespace

int64_t count_words(const uint8_t* text, size_t bytes) {
  const auto is_space = [](uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); };
  int64_t words = 0;
  bool inside = false;
  for (size_t i = 0; i < bytes; ++i) {
    const bool letter = !is_space(text[i]);
    words += letter && !inside;
    inside = letter;
  }
  return words;
}

Evaluation evaluate(Executable& graph, const ByteSource& data, int64_t stride,
                    const std::function<void(int64_t)>& progress) {
  Scorer scorer(graph, stride, progress);
  Evaluation result;
  for (const MappedFile& file : data.files()) {
    scorer.file(file);
    result.words += count_words(file.data(), file.size());
  }
  scorer.flush();
  if (scorer.scored() == 0)
    throw InputError(
        fmt::format("the data '{}' has no byte to score: a byte is scored by those before it", data.name()));
  result.bytes = data.bytes();
  result.scored_bytes = scorer.scored();
  result.nats_per_byte = scorer.sum() / static_cast<double>(result.scored_bytes);
  result.bits_per_byte = result.nats_per_byte / std::numbers::ln2;
  result.word_perplexity =
      result.words
          ? std::exp(result.nats_per_byte * static_cast<double>(result.bytes) / static_cast<double>(result.words))
          : std::numeric_limits<double>::infinity();
  return result;
}

}  // namespace mambac
