#include "runtime/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/device.h"

namespace mambac {
namespace {

constexpr size_t kTensorAlignment = 64;

/// Elements converted at a time when the target is neither float32 nor the stored type.
constexpr int64_t kPieceOfTensor = 4096;

void convert(ElementType from_type, const uint8_t* from, int64_t n, ElementType to_type, void* to) {
  float piece[kPieceOfTensor];
  for (int64_t i = 0; i < n; i += kPieceOfTensor) {
    const int64_t count = std::min(kPieceOfTensor, n - i);
    to_f32(from_type, from + static_cast<size_t>(i) * bytes_of(from_type), count, piece);
    from_f32(piece, count, to_type, static_cast<uint8_t*>(to) + static_cast<size_t>(i) * bytes_of(to_type));
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : name_(path.string()), file_(path), table_(parse_safetensors({file_.data(), file_.size()}, name_)) {}

const TensorEntry* SafetensorsFile::find(std::string_view tensor) const {
  const auto found = table_.tensors.find(tensor);
  return found == table_.tensors.end() ? nullptr : &found->second;
}

const TensorEntry& SafetensorsFile::at(std::string_view tensor) const {
  if (const TensorEntry* entry = find(tensor)) return *entry;
  throw InputError(fmt::format("'{}' has no tensor '{}'", name_, tensor));
}

void SafetensorsFile::read(std::string_view tensor, std::span<const int64_t> expected_shape, ElementType type,
                           void* to) const {
  const TensorEntry& entry = at(tensor);
  if (!shapes_agree(entry.shape, expected_shape))
    throw InputError(fmt::format("tensor '{}' in '{}' has shape {}, expected {}", tensor, name_,
                                 shape_text(entry.shape), shape_text(expected_shape)));
  const uint8_t* from = file_.data() + entry.offset;
  if (entry.type == type) {
    if (entry.bytes) std::memcpy(to, from, entry.bytes);
  } else {
    convert(entry.type, from, entry.elements, type, to);
  }
  file_.release(entry.offset, entry.bytes);
}

void SafetensorsFile::read_exact(std::string_view tensor, std::span<const int64_t> shape, ElementType type,
                                 void* to) const {
  const TensorEntry& entry = at(tensor);
  if (entry.type != type || !std::ranges::equal(entry.shape, shape))
    throw InputError(fmt::format("tensor '{}' in '{}' is {} {}, expected {} {}", tensor, name_, name_of(entry.type),
                                 shape_text(entry.shape), name_of(type), shape_text(shape)));
  if (entry.bytes) std::memcpy(to, file_.data() + entry.offset, entry.bytes);
  file_.release(entry.offset, entry.bytes);
}

void write_safetensors(const std::filesystem::path& path, std::vector<TensorToWrite> tensors,
                       const Metadata& metadata) {
  std::ranges::sort(tensors, [](const TensorToWrite& a, const TensorToWrite& b) {
    return std::pair(-static_cast<int>(bytes_of(a.type)), std::string_view(a.name)) <
           std::pair(-static_cast<int>(bytes_of(b.type)), std::string_view(b.name));
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t at = 0;
  std::vector<size_t> sizes;
  for (const TensorToWrite& tensor : tensors) {
    const auto count = element_count(tensor.shape);
    check(count && !header.contains(tensor.name), "write_safetensors: bad shape or a name given twice");
    sizes.push_back(static_cast<size_t>(*count) * bytes_of(tensor.type));
    header[tensor.name] = {
        {"dtype", name_of(tensor.type)}, {"shape", tensor.shape}, {"data_offsets", {at, at + sizes.back()}}};
    at += sizes.back();
  }
  std::string text = header.dump();
  text.resize((8 + text.size() + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment - 8, ' ');
  uint8_t length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<uint8_t>(text.size() >> (8 * i));

  AtomicFile file(path);
  file.write(length, sizeof length);
  file.write(text);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto write = [&](const void* piece, size_t bytes) { file.write(piece, bytes); };
    if (tensors[i].device)
      tensors[i].device->read(tensors[i].data, sizes[i], write);
    else
      write(tensors[i].data, sizes[i]);
  }
  file.commit();
}

}  // namespace mambac
