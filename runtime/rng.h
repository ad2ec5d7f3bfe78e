// Random numbers from a counter: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
#pragma once

#include <array>
#include <cstdint>

namespace mambac {

/// The Philox4x32-10 bijection: ten rounds over a 128-bit counter under a 64-bit key.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// A sequence is named by seed and stream; the counter is the place in it. The three numbers are the whole state, so
/// saving them and starting again from them goes on bit by bit.
class Rng {
 public:
  explicit Rng(uint64_t seed, uint64_t stream = 0, uint64_t counter = 0)
      : seed_(seed), stream_(stream), counter_(counter) {}

  uint64_t seed() const { return seed_; }
  uint64_t counter() const { return counter_; }

  /// 64 random bits; one step of the counter.
  uint64_t next();
  /// Uniform in [0, 1), a multiple of 2^-53; one step.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  /// Uniform in [0, bound) without bias (Lemire 2019); bound > 0; seldom more than one step.
  uint64_t below(uint64_t bound);
  /// Standard normal (Box-Muller); two steps.
  double normal();

 private:
  uint64_t seed_, stream_, counter_;
};

}  // namespace mambac
