// parse_safetensors: the header of a safetensors file, read event by event so that no depth or size of JSON text can
// exhaust the stack, and duplicate keys are seen.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "ir/error.h"
#include "runtime/safetensors.h"

namespace mambac {
namespace {

constexpr uint64_t kLargestHeader = 100'000'000;
constexpr size_t kLargestRank = 32;

/// A tensor's entry as it stands in the header, before it is checked as a whole.
struct RawEntry {
  std::optional<std::string> type;
  std::optional<std::vector<uint64_t>> shape;
  std::optional<std::vector<uint64_t>> offsets;
};

/// The header has one shape: {"name": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, ...,
/// "__metadata__": {"key": "value"}}. Each event is legal in one place only, which `depth_` and `field_` name.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& name) : name_(name) {}

  std::map<std::string, RawEntry, std::less<>> entries;
  Metadata metadata;

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("true or false"); }
  bool number_integer(int64_t) override { unexpected("a negative number"); }
  bool number_float(double, const std::string&) override { unexpected("a fraction or a number over 2^64"); }
  bool binary(binary_t&) override { unexpected("binary data"); }

  bool number_unsigned(uint64_t value) override {
    if (depth_ != 2 || !list_) unexpected("a number");
    if (list_->size() == kLargestRank)
      fail(fmt::format("'{}' of tensor '{}' has more than {} numbers", field_, tensor_, kLargestRank));
    list_->push_back(value);
    return true;
  }

  bool string(std::string& value) override {
    if (depth_ == 2 && in_metadata_) {
      metadata[field_] = std::move(value);
    } else if (depth_ == 2 && field_ == "dtype" && !list_) {
      entries[tensor_].type = std::move(value);
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool start_object(size_t) override {
    if (depth_ >= 2) unexpected("an object");
    ++depth_;
    return true;
  }

  bool end_object() override {
    --depth_;
    return true;
  }

  bool start_array(size_t) override {
    if (depth_ != 2 || list_ || in_metadata_ || field_ == "dtype") unexpected("a list");
    RawEntry& entry = entries[tensor_];
    list_ = &(field_ == "shape" ? entry.shape : entry.offsets).emplace();
    return true;
  }

  bool end_array() override {
    list_ = nullptr;
    return true;
  }

  bool key(std::string& value) override {
    if (depth_ == 1) {
      in_metadata_ = value == "__metadata__";
      if (!names_.insert(value).second) fail(fmt::format("the name '{}' stands twice", value));
      tensor_ = std::move(value);
      field_.clear();
      fields_.clear();
      if (!in_metadata_) entries[tensor_];
      return true;
    }
    if (!in_metadata_ && value != "dtype" && value != "shape" && value != "data_offsets")
      fail(fmt::format("tensor '{}' has the unknown field '{}'; expected dtype, shape, data_offsets", tensor_, value));
    if (!fields_.insert(value).second) fail(fmt::format("'{}' of '{}' stands twice", value, tensor_));
    field_ = std::move(value);
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail(fmt::format("not valid JSON at byte {}", position));
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw InputError(fmt::format("'{}' is not a valid safetensors file: {}", name_, what));
  }

 private:
  [[noreturn]] void unexpected(const char* what) const {
    if (depth_ == 0) fail(fmt::format("the header is {}, expected an object", what));
    if (depth_ == 1) fail(fmt::format("'{}' is {}, expected an object", tensor_, what));
    fail(fmt::format("unexpected {} in '{}' of '{}'", what, field_, tensor_));
  }

  const std::string& name_;
  int depth_ = 0;
  bool in_metadata_ = false;
  std::string tensor_, field_;
  std::set<std::string> names_, fields_;
  std::vector<uint64_t>* list_ = nullptr;
};

TensorEntry checked_entry(const HeaderReader& reader, const std::string& tensor, const RawEntry& raw, size_t data_start,
                          size_t data_bytes) {
  const auto fail = [&](const std::string& what) { reader.fail(fmt::format("tensor '{}' {}", tensor, what)); };
  if (!raw.type || !raw.shape || !raw.offsets) fail("lacks one of dtype, shape, data_offsets");
  const auto type = element_type_from(*raw.type);
  if (!type) fail(fmt::format("has the unknown dtype '{}'; known: F32, F64, BF16, F16, I32, I64, U8", *raw.type));
  if (raw.offsets->size() != 2) fail(fmt::format("has {} data_offsets, expected 2", raw.offsets->size()));
  const uint64_t begin = (*raw.offsets)[0], end = (*raw.offsets)[1];
  if (begin > end || end > data_bytes)
    fail(fmt::format("has the data_offsets {} to {}; the data has {} bytes", begin, end, data_bytes));

  TensorEntry entry;
  entry.type = *type;
  for (uint64_t size : *raw.shape) {
    if (size > uint64_t{INT64_MAX}) fail("has a shape too large to count");
    entry.shape.push_back(static_cast<int64_t>(size));
  }
  const auto count = element_count(entry.shape);
  uint64_t bytes = 0;
  if (!count || __builtin_mul_overflow(static_cast<uint64_t>(*count), bytes_of(*type), &bytes))
    fail("has a shape too large to count");
  if (bytes != end - begin)
    fail(fmt::format("of type {} and shape {} needs {} bytes, but its data_offsets span {}", *raw.type,
                     shape_text(entry.shape), bytes, end - begin));
  entry.elements = *count;
  entry.offset = data_start + begin;
  entry.bytes = bytes;
  return entry;
}

/// The spans, in order of their start, must follow each other without hole or overlap and end with the file.
void check_cover(const HeaderReader& reader, const SafetensorsTable& table, size_t data_start, size_t file_size) {
  std::vector<std::pair<size_t, const std::string*>> order;
  std::map<const std::string*, size_t> ends;
  for (const auto& [tensor, entry] : table.tensors) {
    order.emplace_back(entry.offset, &tensor);
    ends[&tensor] = entry.offset + entry.bytes;
  }
  std::sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    return std::pair(a.first, ends[a.second]) < std::pair(b.first, ends[b.second]);
  });
  size_t at = data_start;
  for (const auto& [offset, tensor] : order) {
    if (offset != at)
      reader.fail(fmt::format("tensor '{}' starts at data byte {}, expected {} ({})", *tensor, offset - data_start,
                              at - data_start, offset < at ? "overlap" : "hole"));
    at = ends[tensor];
  }
  if (at != file_size) reader.fail(fmt::format("the tensors end at byte {} but the file has {} bytes", at, file_size));
}

}  // namespace

SafetensorsTable parse_safetensors(std::span<const uint8_t> file, const std::string& name) {
  HeaderReader reader(name);
  if (file.size() < 8) reader.fail(fmt::format("it has {} bytes, expected at least 8", file.size()));
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) header_bytes = header_bytes << 8 | file[static_cast<size_t>(i)];
  if (header_bytes > kLargestHeader)
    reader.fail(fmt::format("its header would have {} bytes, expected at most {}", header_bytes, kLargestHeader));
  if (header_bytes > file.size() - 8)
    reader.fail(
        fmt::format("its header would have {} bytes but the file ends after {}", header_bytes, file.size() - 8));
  const char* header = reinterpret_cast<const char*>(file.data()) + 8;
  if (header_bytes == 0 || *header != '{') reader.fail("the header does not begin with '{'");
  nlohmann::json::sax_parse(header, header + header_bytes, &reader);

  SafetensorsTable table;
  table.metadata = std::move(reader.metadata);
  const size_t data_start = 8 + header_bytes;
  for (const auto& [tensor, raw] : reader.entries)
    table.tensors.emplace(tensor, checked_entry(reader, tensor, raw, data_start, file.size() - data_start));
  check_cover(reader, table, data_start, file.size());
  return table;
}

}  // namespace mambac
