#include "ir/type.h"

#include <algorithm>
#include <iterator>

namespace mambac {

namespace {

struct DTypeRow {
  DType dtype;
  const char* name;
  size_t bytes;
};

constexpr DTypeRow kDTypes[] = {
    {DType::f32, "f32", 4}, {DType::bf16, "bf16", 2}, {DType::f16, "f16", 2},
    {DType::i32, "i32", 4}, {DType::u8, "u8", 1},
};

const DTypeRow& row(DType dtype) {
  return kDTypes[static_cast<size_t>(dtype)];
}

}  // namespace

const char* name_of(DType dtype) {
  return row(dtype).name;
}

std::optional<DType> dtype_from(std::string_view name) {
  for (const DTypeRow& candidate : kDTypes) {
    if (name == candidate.name) return candidate.dtype;
  }
  return std::nullopt;
}

size_t bytes_of(DType dtype) {
  return row(dtype).bytes;
}

bool Type::has(DimId dim) const {
  return position(dim) >= 0;
}

int Type::position(DimId dim) const {
  auto found = std::find(dims.begin(), dims.end(), dim);
  return found == dims.end() ? -1 : static_cast<int>(std::distance(dims.begin(), found));
}

}  // namespace mambac
