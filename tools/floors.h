// What this machine can do at best, measured now: the floors that `mambac bench` holds kernels against. All figures
// are of all OpenMP threads together, the best of several repeats of a few milliseconds each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/gemm.h"

namespace mambac::floors {

/// The instruction set of a measuring loop; chosen at run time, whatever this program was compiled for.
enum class Vectors { sse, avx2, avx512 };

/// Those that this CPU has, narrowest first.
std::vector<Vectors> vectors_available();

/// f32 powers of two per second in a loop that stays in registers: 2^r by the polynomial that generated kernels use.
/// Each argument is the result of an addition and each power is added to a sum, the least that any use of it does.
double exponentials_per_second(Vectors vectors = vectors_available().back());

/// f32 multiply-adds per second (two FLOPs each), in registers.
double multiply_adds_per_second(Vectors vectors = vectors_available().back());

/// Bytes per second of reading an array of that many bytes over and over, on huge pages where the system grants them.
/// An array that fits the caches is read from them.
double read_bytes_per_second(size_t bytes);

/// Seconds of the matrix product run bare in the library; packed: its B brought into the library's layout beforehand.
double product_seconds(const MatmulShape& shape, bool packed);

/// to[i] = 2^from[i] as exponentials_per_second computes it, for |from[i]| <= 126. The sizes are equal.
void exp2_of(Vectors vectors, std::span<const float> from, std::span<float> to);

}  // namespace mambac::floors
