#include "runtime/element_type.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <set>

#include "ir/error.h"

namespace mambac {
namespace {

struct Entry {
  ElementType type;
  const char* name;
  size_t bytes;
};

constexpr Entry kTypes[] = {
    {ElementType::f32, "F32", 4}, {ElementType::f64, "F64", 8}, {ElementType::bf16, "BF16", 2},
    {ElementType::f16, "F16", 2}, {ElementType::i32, "I32", 4}, {ElementType::i64, "I64", 8},
    {ElementType::u8, "U8", 1},
};

float from_bf16_bits(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint16_t to_bf16_bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40);  // stays a NaN when the low half is cut
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float from_f16_bits(uint16_t bits) {
  const float sign = (bits & 0x8000) ? -1.0f : 1.0f;
  const int exponent = (bits >> 10) & 0x1f;
  const int mantissa = bits & 0x3ff;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

uint16_t to_f16_bits(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return sign | 0x7e00;
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f) return sign | 0x7c00;  // rounds above the largest finite value, 65504
  if (magnitude < 0x1p-14f) return sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24f));
  const uint32_t bits = std::bit_cast<uint32_t>(magnitude) - (112u << 23);  // exponent bias 127 -> 15
  return sign | static_cast<uint16_t>((bits + 0xfff + ((bits >> 13) & 1)) >> 13);
}

template <class T, class Function>
void each(const void* from, int64_t n, float* to, Function convert) {
  const char* source = static_cast<const char*>(from);
  for (int64_t i = 0; i < n; ++i) {
    T value;
    std::memcpy(&value, source + i * sizeof(T), sizeof(T));
    to[i] = convert(value);
  }
}

template <class T, class Function>
void each(const float* from, int64_t n, void* to, Function convert) {
  char* target = static_cast<char*>(to);
  for (int64_t i = 0; i < n; ++i) {
    const T value = convert(from[i]);
    std::memcpy(target + i * sizeof(T), &value, sizeof(T));
  }
}

/// The strides at which a dimension of size over 1 begins: what merging and splitting of neighbours cannot move.
std::set<int64_t> boundaries(std::span<const int64_t> shape) {
  std::set<int64_t> strides;
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) strides.insert(stride *= shape[i]);
  return strides;
}

}  // namespace

const char* name_of(ElementType type) {
  return kTypes[static_cast<size_t>(type)].name;
}
size_t bytes_of(ElementType type) {
  return kTypes[static_cast<size_t>(type)].bytes;
}

std::optional<ElementType> element_type_from(std::string_view safetensors_name) {
  for (const Entry& entry : kTypes)
    if (safetensors_name == entry.name) return entry.type;
  return std::nullopt;
}

ElementType element_type_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return ElementType::f32;
    case DType::bf16:
      return ElementType::bf16;
    case DType::f16:
      return ElementType::f16;
    case DType::i32:
      return ElementType::i32;
    case DType::u8:
      return ElementType::u8;
  }
  throw InternalError("element_type_of: not a dtype");
}

std::optional<int64_t> element_count(std::span<const int64_t> shape) {
  int64_t count = 1;
  for (int64_t size : shape)
    if (size < 0 || __builtin_mul_overflow(count, size, &count) || count > (int64_t{1} << 62)) return std::nullopt;
  return count;
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

bool shapes_agree(std::span<const int64_t> a, std::span<const int64_t> b) {
  const auto count = element_count(a);
  if (!count || count != element_count(b)) return false;
  if (*count == 0) return true;
  std::set<int64_t> first = boundaries(a), second = boundaries(b);
  first.insert(1), second.insert(1);
  return std::includes(first.begin(), first.end(), second.begin(), second.end()) ||
         std::includes(second.begin(), second.end(), first.begin(), first.end());
}

void to_f32(ElementType type, const void* from, int64_t n, float* to) {
  switch (type) {
    case ElementType::f32:
      return each<float>(from, n, to, [](float v) { return v; });
    case ElementType::f64:
      return each<double>(from, n, to, [](double v) { return static_cast<float>(v); });
    case ElementType::bf16:
      return each<uint16_t>(from, n, to, from_bf16_bits);
    case ElementType::f16:
      return each<uint16_t>(from, n, to, from_f16_bits);
    case ElementType::i32:
      return each<int32_t>(from, n, to, [](int32_t v) { return static_cast<float>(v); });
    case ElementType::i64:
      return each<int64_t>(from, n, to, [](int64_t v) { return static_cast<float>(v); });
    case ElementType::u8:
      return each<uint8_t>(from, n, to, [](uint8_t v) { return static_cast<float>(v); });
  }
}

void from_f32(const float* from, int64_t n, ElementType type, void* to) {
  switch (type) {
    case ElementType::f32:
      return each<float>(from, n, to, [](float v) { return v; });
    case ElementType::bf16:
      return each<uint16_t>(from, n, to, to_bf16_bits);
    case ElementType::f16:
      return each<uint16_t>(from, n, to, to_f16_bits);
    default:
      throw InternalError("from_f32: only to float32, bfloat16 and float16");
  }
}

}  // namespace mambac
