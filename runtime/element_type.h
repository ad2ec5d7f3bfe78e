// Element types of arrays in files, their shapes, and conversion to and from float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "ir/type.h"

namespace mambac {

/// The compiler's element types and two wide ones that only files have.
enum class ElementType : uint8_t { f32, f64, bf16, f16, i32, i64, u8 };

/// "F32", "BF16", ...: the spelling of the safetensors format.
const char* name_of(ElementType type);
std::optional<ElementType> element_type_from(std::string_view safetensors_name);
size_t bytes_of(ElementType type);
ElementType element_type_of(DType dtype);

/// The product of the sizes; nothing when a size is negative or the product exceeds 2^62.
std::optional<int64_t> element_count(std::span<const int64_t> shape);
/// "[2, 3]"
std::string shape_text(std::span<const int64_t> shape);

/// Whether a row-major array of shape `a` can be read as one of shape `b` by merging or splitting neighbouring
/// dimensions only: [2, D, E] agrees with [2D, E] and [D, K] with [D, 1, K], but [D, E] not with [E, D].
bool shapes_agree(std::span<const int64_t> a, std::span<const int64_t> b);

/// Converts n elements; `from` and `to` may be unaligned. bf16 and f16 round to nearest, ties to even.
void to_f32(ElementType type, const void* from, int64_t n, float* to);
void from_f32(const float* from, int64_t n, ElementType type, void* to);

}  // namespace mambac
