// The safetensors container: a JSON header of names, types, shapes and offsets, then the bytes of the tensors.
// Format: https://huggingface.co/docs/safetensors (version 0.4). Written for files from strangers: whatever the bytes
// are, opening ends in tables that lie inside the file, or in an InputError that says what is wrong.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/element_type.h"
#include "runtime/mapped_file.h"

namespace mambac {

class Device;

using Metadata = std::map<std::string, std::string, std::less<>>;

/// Where a tensor lies; offset is from the start of the file and need not be aligned.
struct TensorEntry {
  ElementType type = ElementType::f32;
  std::vector<int64_t> shape;
  int64_t elements = 0;
  size_t offset = 0;
  size_t bytes = 0;
};

struct SafetensorsTable {
  std::map<std::string, TensorEntry, std::less<>> tensors;
  Metadata metadata;
};

/// Reads the header of a file given as bytes. Checked: header size (at most 100 MB and inside the file), JSON of the
/// one allowed shape, no duplicate keys, known types, shape times type equal to the span, and spans that cover the
/// data exactly, without hole or overlap. `name` is for messages.
SafetensorsTable parse_safetensors(std::span<const uint8_t> file, const std::string& name);

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::string& name() const { return name_; }
  const SafetensorsTable& table() const { return table_; }
  const TensorEntry* find(std::string_view tensor) const;

  /// Copies a tensor into caller-owned memory as float32 or as `type` (f32, bf16, f16), and releases its pages.
  /// InputError when it is absent or its shape does not agree (shapes_agree) with the expected one.
  void read(std::string_view tensor, std::span<const int64_t> expected_shape, ElementType type, void* to) const;
  /// Copies the bytes of a tensor as they are, whatever its type. InputError when type or shape differ.
  void read_exact(std::string_view tensor, std::span<const int64_t> shape, ElementType type, void* to) const;

 private:
  const TensorEntry& at(std::string_view tensor) const;

  std::string name_;
  MappedFile file_;
  SafetensorsTable table_;
};

struct TensorToWrite {
  std::string name;
  ElementType type = ElementType::f32;
  std::vector<int64_t> shape;
  const void* data = nullptr;
  Device* device = nullptr;  // whose memory the data is in; null: the host's
};

/// Writes the file whole or not at all. The order in the file depends on names and types only (wide types first, then
/// by name), and the data starts at a multiple of 64 bytes.
void write_safetensors(const std::filesystem::path& path, std::vector<TensorToWrite> tensors, const Metadata& metadata);

}  // namespace mambac
