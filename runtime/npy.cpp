#include "runtime/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/mapped_file.h"

namespace mambac {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kNpyAlignment = 64;
constexpr size_t kLargestNpyHeader = 1 << 20;
constexpr size_t kLargestNpyRank = 32;  // NumPy's own limit before 2.0

struct Spelling {
  const char* descr;
  ElementType type;
};
constexpr Spelling kSpellings[] = {{"<f4", ElementType::f32}, {"<f8", ElementType::f64}, {"<f2", ElementType::f16},
                                   {"|u1", ElementType::u8},  {"<i4", ElementType::i32}, {"<i8", ElementType::i64}};

[[noreturn]] void fail(const std::string& name, const std::string& what) {
  throw InputError(fmt::format("'{}' is not a readable .npy file: {}", name, what));
}

/// Reads the Python literal {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } from left to right.
class NpyHeader {
 public:
  NpyHeader(std::string_view text, const std::string& name) : rest_(text), name_(name) {}

  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<int64_t>> shape;

  void read() {
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr") {
        descr = quoted();
      } else if (key == "fortran_order") {
        fortran_order = boolean();
      } else if (key == "shape") {
        shape = tuple();
      } else {
        fail(name_, fmt::format("its header has the unknown key '{}'", key));
      }
      if (!accept(',') && peek() != '}') fail(name_, "its header lacks a comma");
    }
    if (!descr || !fortran_order || !shape) fail(name_, "its header lacks one of descr, fortran_order, shape");
  }

 private:
  char peek() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\n')) rest_.remove_prefix(1);
    return rest_.empty() ? '\0' : rest_[0];
  }
  bool accept(char wanted) {
    if (peek() != wanted || rest_.empty()) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) fail(name_, fmt::format("its header lacks '{}'", wanted));
  }
  std::string quoted() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') fail(name_, "its header is not a dictionary of plain types");
    const size_t end = rest_.find(quote, 1);
    if (end == std::string_view::npos) fail(name_, "its header has a string without end");
    std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }
  bool boolean() {
    peek();
    for (const bool value : {true, false}) {
      const std::string_view word = value ? "True" : "False";
      if (!rest_.starts_with(word)) continue;
      rest_.remove_prefix(word.size());
      return value;
    }
    fail(name_, "fortran_order is neither True nor False");
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> sizes;
    expect('(');
    while (!accept(')')) {
      peek();
      int64_t size = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), size);
      if (error != std::errc() || size < 0) fail(name_, "its shape is not a tuple of sizes");
      if (sizes.size() == kLargestNpyRank) fail(name_, fmt::format("it has more than {} dimensions", kLargestNpyRank));
      sizes.push_back(size);
      rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
      if (!accept(',') && peek() != ')') fail(name_, "its shape is not a tuple of sizes");
    }
    return sizes;
  }

  std::string_view rest_;
  const std::string& name_;
};

ElementType type_of(const std::string& descr, const std::string& name) {
  std::string spelled = descr == "<u1" || descr == "=u1" || descr == ">u1" ? "|u1" : descr;
  if (spelled.starts_with('=')) spelled[0] = '<';
  for (const Spelling& spelling : kSpellings)
    if (spelled == spelling.descr) return spelling.type;
  fail(name, fmt::format("its type is '{}', expected one of <f4, <f8, <f2, |u1, <i4, <i8", descr));
}

}  // namespace

NpyArray parse_npy(std::span<const uint8_t> file, const std::string& name) {
  if (file.size() < 10 || std::memcmp(file.data(), kMagic.data(), kMagic.size()) != 0)
    fail(name, "it does not begin as one");
  const int version = file[6];
  if (version < 1 || version > 3) fail(name, fmt::format("it has format version {}, expected 1 to 3", version));
  const size_t prefix = version == 1 ? 10 : 12;
  if (file.size() < prefix) fail(name, "it ends within its header");
  size_t header_bytes = 0;
  for (size_t i = prefix; i-- > 8;) header_bytes = header_bytes << 8 | file[i];
  if (header_bytes > kLargestNpyHeader || header_bytes > file.size() - prefix)
    fail(name,
         fmt::format("its header would have {} bytes but the file ends after {}", header_bytes, file.size() - prefix));
  NpyHeader header({reinterpret_cast<const char*>(file.data()) + prefix, header_bytes}, name);
  header.read();
  if (*header.fortran_order && header.shape->size() > 1)
    fail(name, "it is in Fortran order, expected C order (save numpy.ascontiguousarray(x))");

  NpyArray array;
  array.type = type_of(*header.descr, name);
  array.shape = std::move(*header.shape);
  const auto count = element_count(array.shape);
  size_t bytes = 0;
  if (!count || __builtin_mul_overflow(static_cast<size_t>(*count), bytes_of(array.type), &bytes))
    fail(name, fmt::format("its shape {} is too large to count", shape_text(array.shape)));
  const auto data = file.subspan(prefix + header_bytes);
  if (data.size() != bytes)
    fail(name, fmt::format("shape {} of {} needs {} bytes, found {}", shape_text(array.shape), *header.descr, bytes,
                           data.size()));
  array.elements = *count;
  array.data.assign(data.begin(), data.end());
  return array;
}

NpyArray read_npy(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_npy({file.data(), file.size()}, path.string());
}

void write_npy(const std::filesystem::path& path, ElementType type, std::span<const int64_t> shape, const void* data) {
  const auto* spelling = std::ranges::find(kSpellings, type, &Spelling::type);
  check(spelling != std::end(kSpellings), "write_npy: a type that NumPy does not know");
  const auto count = element_count(shape);
  check(count.has_value(), "write_npy: bad shape");
  std::string sizes;
  for (int64_t size : shape) sizes += fmt::format("{}, ", size);
  if (shape.size() > 1) sizes.resize(sizes.size() - 2);  // (2, 3), but (2,) and ()
  if (shape.size() == 1) sizes.resize(sizes.size() - 1);
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", spelling->descr, sizes);
  text.resize((10 + text.size() + 1 + kNpyAlignment - 1) / kNpyAlignment * kNpyAlignment - 11, ' ');
  text += '\n';

  AtomicFile file(path);
  file.write(kMagic);
  const uint8_t version_and_length[] = {1, 0, static_cast<uint8_t>(text.size()),
                                        static_cast<uint8_t>(text.size() >> 8)};
  file.write(version_and_length, sizeof version_and_length);
  file.write(text);
  file.write(data, static_cast<size_t>(*count) * bytes_of(type));
  file.commit();
}

}  // namespace mambac
