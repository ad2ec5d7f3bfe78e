// The measuring loops of the floors, one set for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mambac::floors {

struct Loops {
  int lanes;
  /// Each iteration does kChains vectors of `lanes` values, independent of each other.
  void (*exponentials)(int64_t iterations);
  void (*multiply_adds)(int64_t iterations);
  /// Reads `bytes` (a multiple of 512) once.
  void (*read)(const char* from, size_t bytes);
  /// `lanes` values.
  void (*exp2)(const float* from, float* to);
};

/// Enough to cover the latency of a multiply-add on two ports (5 cycles) with room to spare.
constexpr int kChains = 12;

extern const Loops kSseLoops, kAvx2Loops, kAvx512Loops;

}  // namespace mambac::floors
