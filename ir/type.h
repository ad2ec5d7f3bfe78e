// Element types, named dimensions and the type of a value.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mambac {

enum class DType : uint8_t { f32, bf16, f16, i32, u8 };

const char* name_of(DType dtype);
std::optional<DType> dtype_from(std::string_view name);
size_t bytes_of(DType dtype);
inline bool is_float(DType dtype) { return dtype <= DType::f16; }

/// An index into Graph::dims().
struct DimId {
  uint32_t index = UINT32_MAX;
  auto operator<=>(const DimId&) const = default;
};

/// A named dimension. size == 0 means free: bound when an executable is made. A free dimension with a divisor is
/// the number of tiles of `divisor` steps in `base` (the last tile may be short).
struct Dim {
  std::string name;
  int64_t size = 0;
  DimId base{};
  int64_t divisor = 0;

  bool is_free() const { return size == 0; }
  bool is_tiles() const { return divisor != 0; }
};

/// Dims are unique within a type, outermost first; their order is the order in memory (row-major, dense).
struct Type {
  DType dtype = DType::f32;
  std::vector<DimId> dims;

  bool has(DimId dim) const;
  int position(DimId dim) const;  // -1 when absent
  bool operator==(const Type&) const = default;
};

}  // namespace mambac
