// Where values lie in an arena.
#include "passes/plan.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace mambac {
namespace {

constexpr int64_t kPage = 4096;

TEST(ArenaPlan, WhatIsNeededAtTheSameTimeSharesNoMemory) {
  std::mt19937 random(1);
  for (int repeat = 0; repeat < 50; ++repeat) {
    std::vector<Lifetime> lives;
    for (int i = 0; i < 60; ++i) {
      const int first = static_cast<int>(random() % 30);
      lives.push_back({static_cast<int64_t>(random() % (repeat % 2 == 0 ? 20000 : 300)), first,
                       first + static_cast<int>(random() % 8)});
    }
    const ArenaPlan plan = plan_arena(lives);
    for (size_t i = 0; i < lives.size(); ++i) {
      EXPECT_EQ(plan.offsets[i] % 64, 0);
      EXPECT_LE(plan.offsets[i] + lives[i].bytes, plan.bytes);
      for (size_t j = 0; j < i; ++j) {
        const bool at_once = lives[i].first <= lives[j].last && lives[j].first <= lives[i].last;
        const bool apart = plan.offsets[i] + lives[i].bytes <= plan.offsets[j] ||
                           plan.offsets[j] + lives[j].bytes <= plan.offsets[i];
        EXPECT_TRUE(!at_once || apart) << i << " and " << j;
      }
    }
  }
}

TEST(ArenaPlan, MemoryIsUsedAgain) {
  EXPECT_LT(plan_arena({{kPage, 0, 1}, {kPage, 2, 3}, {kPage, 4, 5}}).bytes, 2 * kPage);
}

TEST(ArenaPlan, ValuesOfPagesBeginAtDifferentPlacesOfTheirPages) {
  const std::vector<Lifetime> lives(32, {3 * kPage, 0, 0});
  const ArenaPlan plan = plan_arena(lives);
  std::set<int64_t> places;
  for (const int64_t offset : plan.offsets) {
    EXPECT_EQ(offset % 128, 0);
    places.insert(offset % kPage);
  }
  EXPECT_EQ(places.size(), lives.size());
  EXPECT_LE(plan.bytes, 32 * 4 * kPage);
}

TEST(ArenaPlan, SmallValuesLieCloseTogether) {
  EXPECT_EQ(plan_arena(std::vector<Lifetime>(10, {100, 0, 0})).bytes, 10 * 128);
}

}  // namespace
}  // namespace mambac
