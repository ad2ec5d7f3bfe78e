#include "runtime/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "ir/error.h"
#include "ir/trace.h"
#include "runtime/parameters.h"

namespace mambac {
namespace {

constexpr int64_t kVocabulary = 256;
constexpr int64_t kDrawsPerVisit = 32;  // of the host: few enough that text comes smoothly from a slow model
constexpr int64_t kOptionStride = 16;   // elements; scalars that are bound lie apart

}  // namespace

Generator::Generator(Executable* prefill, Executable& step, Executable* sampler)
    : prefill_(prefill), step_(step), sampler_(sampler), state_(step.device(), step.inputs()) {
  const Port& input = port(step.inputs(), "bytes", DType::u8);
  check(input.shape.size() == 1, "Generator: the step's bytes are not [B]");
  batch_ = input.shape[0];
  check(port(step.outputs(), "logits", DType::f32).elements == batch_ * kVocabulary,
        "Generator: the step's logits are not [B, 256]");
  step_bytes_ = MirroredArray<uint8_t>(step.device(), batch_);
  logits_ = MirroredArray<float>(step.device(), batch_ * kVocabulary);
  bind_memory(step, "bytes", step_bytes_.on_device());
  bind_memory(step, "logits", logits_.on_device());
  if (sampler) bind_sampler();
  if (!prefill) return;
  const Port& chunk = port(prefill->inputs(), "bytes", DType::u8);
  check(chunk.shape.size() == 2 && chunk.shape[0] == batch_, "Generator: prefill's bytes are not [B, L]");
  chunk_ = chunk.shape[1];
  const int64_t logits = port(prefill->outputs(), "logits", DType::f32).elements;
  check(logits == batch_ * kVocabulary || logits == batch_ * chunk_ * kVocabulary,
        "Generator: prefill's logits are neither [B, L, 256] nor [B, 256]");
  chunk_bytes_ = MirroredArray<uint8_t>(step.device(), chunk.elements);
  chunk_logits_ = DeviceArray<float>(step.device(), logits);
  bind_memory(*prefill, "bytes", chunk_bytes_.on_device());
  bind_memory(*prefill, "logits", chunk_logits_);
}

void Generator::bind_sampler() {
  check(port(sampler_->inputs(), "logits", DType::f32).elements == batch_ * kVocabulary &&
            port(sampler_->outputs(), "byte", DType::u8).elements == batch_ &&
            port(sampler_->outputs(), "wrong", DType::f32).elements == batch_,
        "Generator: the sampler has another batch than the step");
  Device& device = step_.device();
  uniform_ = DeviceArray<float>(device, batch_);
  wrong_ = DeviceArray<float>(device, batch_);
  sampling_ = MirroredArray<float>(device, 3 * kOptionStride);
  uniforms_ = MirroredArray<float>(device, kDrawsPerVisit * batch_);
  wrongs_ = MirroredArray<float>(device, kDrawsPerVisit * batch_);
  drawn_ = MirroredArray<uint8_t>(device, kDrawsPerVisit * batch_);
  bind_memory(*sampler_, "logits", logits_.on_device());
  bind_memory(*sampler_, "uniform", uniform_);
  bind_memory(*sampler_, "byte", step_bytes_.on_device());
  bind_memory(*sampler_, "wrong", wrong_);
  int64_t at = 0;
  for (const char* name : {"temperature", "top_k", "top_p"}) {
    bind_memory(*sampler_, name, sampling_.on_device().part(at, 1));
    at += kOptionStride;
  }
}

void Generator::set_sampling(const SamplingOptions& options) {
  const bool likeliest = options.temperature == 0 || options.top_k == 1;
  float* values = sampling_.host();
  values[0] = likeliest ? 1 : static_cast<float>(options.temperature);
  values[kOptionStride] = likeliest ? 1 : static_cast<float>(options.top_k > 0 ? options.top_k : kVocabulary);
  values[2 * kOptionStride] = static_cast<float>(options.top_p);
  sampling_.upload();
}

void Generator::run_step() {
  const trace::Span span("step", "decode step", ++steps_);
  state_.bind(step_);
  step_.run();
  state_.advance();
}

void Generator::feed(const std::vector<const uint8_t*>& rows, int64_t count) {
  check(static_cast<int64_t>(rows.size()) == batch_, "Generator: another number of rows than the batch");
  int64_t at = 0;
  for (; prefill_ && at + chunk_ <= count; at += chunk_) {
    const trace::Span span("step", "prefill from byte", at);
    for (int64_t row = 0; row < batch_; ++row)
      std::memcpy(chunk_bytes_.host() + row * chunk_, rows[static_cast<size_t>(row)] + at, static_cast<size_t>(chunk_));
    chunk_bytes_.upload();
    state_.bind(*prefill_);
    prefill_->run();
    state_.advance();
    const int64_t stride = chunk_logits_.size() / batch_;  // the last logits end a row
    for (int64_t row = 0; row < batch_; ++row)
      logits_.on_device()
          .part(row * kVocabulary, kVocabulary)
          .copy(chunk_logits_.part((row + 1) * stride - kVocabulary, kVocabulary));
  }
  for (; at < count; ++at) {
    for (int64_t row = 0; row < batch_; ++row) step_bytes_.host()[row] = rows[static_cast<size_t>(row)][at];
    step_bytes_.upload();
    run_step();
  }
}

std::span<const float> Generator::logits(int64_t row) const {
  logits_.download(row * kVocabulary, kVocabulary);
  return {logits_.host() + row * kVocabulary, static_cast<size_t>(kVocabulary)};
}

/// A row of a batch on its way: it reads its prompt to the end, then its own bytes.
struct Generator::Row {
  std::string prompt;
  Rng rng;
  int64_t wanted;  // bytes to write; 0: the row only fills the batch
  int64_t written = 0;
  uint8_t last = 0;

  bool reads_prompt(int64_t at) const { return at < static_cast<int64_t>(prompt.size()); }
  bool done() const { return written >= wanted; }
  int64_t left() const { return wanted - written; }
  uint8_t byte(int64_t at) const {
    return reads_prompt(at) ? static_cast<uint8_t>(prompt[static_cast<size_t>(at)]) : last;
  }
};

bool Generator::stream_batch(std::span<const std::string> prompts, size_t first, const GenerateOptions& options,
                             const ByteCallback& on_byte) {
  std::vector<Row> rows;
  for (size_t i = 0; i < static_cast<size_t>(batch_); ++i) {
    const bool real = i < prompts.size();
    rows.push_back(
        {real && !prompts[i].empty() ? prompts[i] : "\n", Rng(options.seed, first + i), real ? options.bytes : 0});
    if (!real) rows.back().prompt = rows.front().prompt;  // must not hold the others back
  }
  int64_t at = INT64_MAX;
  std::vector<const uint8_t*> starts;
  for (const Row& row : rows) {
    at = std::min(at, static_cast<int64_t>(row.prompt.size()));
    starts.push_back(reinterpret_cast<const uint8_t*>(row.prompt.data()));
  }
  Sampler sampler(options.sampling);
  state_.reset();
  feed(starts, at);
  while (true) {  // `at` bytes of each row have been read
    if (sampler_ && std::ranges::none_of(rows, [&](const Row& row) { return row.reads_prompt(at); }))
      return stream_on_device(rows, first, on_byte);
    for (size_t i = 0; i < rows.size(); ++i) {
      Row& row = rows[i];
      if (row.reads_prompt(at) || row.done()) continue;
      const trace::Span span("data", "draw a byte");
      row.last = static_cast<uint8_t>(sampler.draw(logits(static_cast<int64_t>(i)), row.rng));
      ++row.written;
      if (!on_byte(first + i, row.last)) return false;
    }
    if (std::ranges::all_of(rows, &Row::done)) return true;
    for (size_t i = 0; i < rows.size(); ++i) step_bytes_.host()[i] = rows[i].byte(at);
    step_bytes_.upload();
    run_step();
    ++at;
  }
}

/// The host draws the random numbers, hands out the bytes and says where the logits were wrong.
bool Generator::stream_on_device(std::vector<Row>& rows, size_t first, const ByteCallback& on_byte) {
  while (true) {
    const int64_t left = std::ranges::max(rows, {}, &Row::left).left();
    if (left <= 0) return true;
    const int64_t draws = std::min(left, kDrawsPerVisit);
    for (int64_t i = 0; i < draws * batch_; ++i) {
      Row& row = rows[static_cast<size_t>(i % batch_)];
      uniforms_.host()[i] = row.left() > i / batch_ ? static_cast<float>(row.rng.next() >> 40) * 0x1p-24f : 0;
    }
    uniforms_.upload();
    for (int64_t i = 0; i < draws; ++i) {
      uniform_.copy(uniforms_.on_device().part(i * batch_, batch_));
      sampler_->run();
      drawn_.on_device().part(i * batch_, batch_).copy(step_bytes_.on_device());
      wrongs_.on_device().part(i * batch_, batch_).copy(wrong_);
      if (i + 1 < left) run_step();
    }
    drawn_.download(0, draws * batch_);
    wrongs_.download(0, draws * batch_);
    for (int64_t i = 0; i < draws * batch_; ++i) {
      Row& row = rows[static_cast<size_t>(i % batch_)];
      if (row.done()) continue;
      if (wrongs_.host()[i] != 0)
        throw InputError(fmt::format("the model's logits for byte {} are not finite", row.written + 1));
      ++row.written;
      if (!on_byte(first + static_cast<size_t>(i % batch_), drawn_.host()[i])) return false;
    }
  }
}

void Generator::stream(const std::vector<std::string>& prompts, const GenerateOptions& options,
                       const ByteCallback& on_byte) {
  if (options.bytes < 0)
    throw InputError(fmt::format("the bytes to generate: found {}, expected 0 or more", options.bytes));
  check_options(options.sampling);
  if (sampler_) set_sampling(options.sampling);
  for (size_t first = 0; first < prompts.size(); first += static_cast<size_t>(batch_)) {
    const size_t count = std::min(static_cast<size_t>(batch_), prompts.size() - first);
    if (!stream_batch({prompts.data() + first, count}, first, options, on_byte)) break;
  }
}

std::vector<std::string> Generator::generate(const std::vector<std::string>& prompts, const GenerateOptions& options) {
  std::vector<std::string> written(prompts.size());
  stream(prompts, options, [&](size_t prompt, uint8_t byte) {
    written[prompt].push_back(static_cast<char>(byte));
    return true;
  });
  return written;
}

}  // namespace mambac
