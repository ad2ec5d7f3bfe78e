#include "runtime/cuda/kernel_entry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "runtime/hash.h"

namespace mambac::cuda {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic = "mambac-k";
constexpr std::string_view kFirstLine =
    "mambac kernel 1";  // the number changes when equal keys no longer mean equal code

struct Sizes {
  uint64_t key = 0, kernels = 0, cubin = 0, hash = 0;
};
constexpr size_t kHeader = kMagic.size() + sizeof(Sizes);

uint64_t hash_of(std::string_view key, std::string_view kernels, std::string_view cubin) {
  return hash_64(cubin, hash_64(kernels, hash_64(key)));
}

/// The rest of the line that begins with the word; moves on to the next line.
bool take_line(std::string_view& text, std::string_view word, std::string& rest) {
  const size_t end = text.find('\n');
  if (!text.starts_with(word) || end == std::string_view::npos || end < word.size()) return false;
  rest = text.substr(word.size(), end - word.size());
  text.remove_prefix(end + 1);
  return true;
}

/// Comments name places in a model; its code is the same when they move. Lines stay, for line tables count them.
std::string without_comments(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  bool quoted = false;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '"' && (i == 0 || source[i - 1] != '\\')) quoted = !quoted;
    if (!quoted && source.substr(i).starts_with("//")) {
      i = std::min(source.find('\n', i), source.size());
      while (!text.empty() && text.back() == ' ') text.pop_back();
    }
    if (i < source.size()) text += source[i];
  }
  return text;
}

}  // namespace

KernelKey KernelKey::of(const CompileRequest& request, const std::string& nvrtc_version) {
  return {nvrtc_version, request.architecture, fmt::format("{}", fmt::join(Nvrtc::options(request), " ")),
          request.program, without_comments(request.source)};
}

std::string KernelKey::text() const {
  return fmt::format("{}\nnvrtc {}\narchitecture {}\noptions {}\nprogram {}\n\n{}", kFirstLine, nvrtc, architecture,
                     options, program, source);
}

bool KernelKey::parse(std::string_view text, KernelKey& key) {
  std::string nothing;
  const bool good = take_line(text, kFirstLine, nothing) && take_line(text, "nvrtc ", key.nvrtc) &&
                    take_line(text, "architecture ", key.architecture) && take_line(text, "options ", key.options) &&
                    take_line(text, "program ", key.program) && take_line(text, "", nothing) && nothing.empty();
  key.source = text;
  return good;
}

std::string KernelKey::digest() const {
  return hash_128_text(text());
}

std::string KernelEntry::encode() const {
  const std::string key_text = key.text(), uses = kernel_uses_text(kernels);
  const Sizes sizes{key_text.size(), uses.size(), cubin.size(), hash_of(key_text, uses, cubin)};
  std::string bytes(kMagic);
  bytes.append(reinterpret_cast<const char*>(&sizes), sizeof(sizes));
  return bytes + key_text + uses + cubin;
}

std::string KernelEntry::decode(std::string_view bytes, KernelEntry& entry) {
  if (bytes.size() < kHeader) return fmt::format("has {} bytes, fewer than a header", bytes.size());
  if (!bytes.starts_with(kMagic)) return "does not begin like an entry";
  Sizes sizes;
  std::memcpy(&sizes, bytes.data() + kMagic.size(), sizeof(sizes));
  bytes.remove_prefix(kHeader);
  // Each alone first: a sum of damaged sizes may overflow.
  if (std::max({sizes.key, sizes.kernels, sizes.cubin}) > bytes.size() ||
      sizes.key + sizes.kernels + sizes.cubin != bytes.size())
    return fmt::format("has {} bytes after its header, which speaks of {}, {} and {}", bytes.size(), sizes.key,
                       sizes.kernels, sizes.cubin);
  const std::string_view key = bytes.substr(0, sizes.key), kernels = bytes.substr(sizes.key, sizes.kernels),
                         cubin = bytes.substr(sizes.key + sizes.kernels);
  if (hash_of(key, kernels, cubin) != sizes.hash) return "does not have the hash that its header says";
  if (!KernelKey::parse(key, entry.key) || !parse_kernel_uses(kernels, entry.kernels)) return "is of another format";
  entry.cubin = cubin;
  return "";
}

}  // namespace mambac::cuda
