// NumPy's .npy files: one array in row-major order.
// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html (versions 1, 2 and 3 are read).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "runtime/element_type.h"

namespace mambac {

struct NpyArray {
  ElementType type = ElementType::f32;
  std::vector<int64_t> shape;
  int64_t elements = 0;
  std::vector<uint8_t> data;  // elements * bytes_of(type), little-endian
};

/// Reads f4, f8, f2, u1, i4 and i8 arrays. InputError says what is wrong: not an .npy file, another type, Fortran
/// order, big-endian, a shape that the file is too short or too long for.
NpyArray read_npy(const std::filesystem::path& path);
/// The same from bytes; `name` is for messages.
NpyArray parse_npy(std::span<const uint8_t> file, const std::string& name);

/// Writes the file whole or not at all (format version 1). There is no NumPy type for bf16.
void write_npy(const std::filesystem::path& path, ElementType type, std::span<const int64_t> shape, const void* data);

}  // namespace mambac
