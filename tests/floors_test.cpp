#include "tools/floors.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace mambac {
namespace {

using floors::Vectors;

/// One thread measures alone: what other programs do to the machine then matters least.
class Floors : public testing::Test {
 protected:
  void SetUp() override { omp_set_num_threads(1); }
  void TearDown() override { omp_set_num_threads(before_); }

 private:
  int before_ = omp_get_max_threads();
};

TEST_F(Floors, TheExponentialsAreReal) {
  std::vector<float> from, to(2003);
  for (size_t i = 0; i < to.size(); ++i) from.push_back(-125.0f + 250.0f * static_cast<float>(i) / 2002.0f);
  for (Vectors vectors : floors::vectors_available()) {
    floors::exp2_of(vectors, from, to);
    for (size_t i = 0; i < to.size(); ++i) {
      double expected = std::exp2(static_cast<double>(from[i]));
      ASSERT_NEAR(to[i], expected, 4e-7 * expected) << "2^" << from[i] << " vectors " << static_cast<int>(vectors);
    }
  }
}

/// Of several measurements, since other programs slow some of them down.
double most_per_second(double (*measured)(Vectors), Vectors vectors) {
  return std::max({measured(vectors), measured(vectors), measured(vectors)});
}

TEST_F(Floors, WiderVectorsAreNotSlower) {
  double exponentials = 0, multiply_adds = 0;
  for (Vectors vectors : floors::vectors_available()) {
    double e = most_per_second(floors::exponentials_per_second, vectors);
    double f = most_per_second(floors::multiply_adds_per_second, vectors);
    EXPECT_GT(e, 0.5 * exponentials);
    EXPECT_GT(f, 0.5 * multiply_adds);
    EXPECT_GT(e, 1e8);
    EXPECT_LT(e, f) << "an exponential takes more than one multiply-add";
    exponentials = e;
    multiply_adds = f;
  }
}

TEST_F(Floors, NoLoopWasOptimisedAway) {
  // Two units of 16 lanes at 6 GHz are more than any CPU does.
  const double most = 2.0 * 16 * 6e9;
  EXPECT_LT(floors::multiply_adds_per_second(), most);
  EXPECT_LT(floors::exponentials_per_second(), most / 6);
  // Two loads of 64 bytes a cycle.
  EXPECT_LT(floors::read_bytes_per_second(16 << 10), 2.0 * 64 * 6e9);
}

TEST_F(Floors, CachesReadFasterThanMemory) {
  double near = floors::read_bytes_per_second(32 << 10), far = floors::read_bytes_per_second(256 << 20);
  EXPECT_GT(near, far / 4);  // other programs may run meanwhile
  EXPECT_GT(far, 1e8);
  EXPECT_GT(floors::read_bytes_per_second(0), 0);
}

TEST_F(Floors, AProductTakesTime) {
  double small = floors::product_seconds({.m = 64, .n = 64, .k = 64, .transpose_b = true}, true);
  double large = floors::product_seconds({.m = 512, .n = 512, .k = 512, .transpose_b = true}, true);
  EXPECT_GT(small, 0);
  EXPECT_GT(large, 4 * small);
}

TEST_F(Floors, AllThreadsAreCounted) {
  omp_set_num_threads(3);
  EXPECT_GT(floors::multiply_adds_per_second(), 0);
  EXPECT_GT(floors::read_bytes_per_second(100000), 0);
}

}  // namespace
}  // namespace mambac
