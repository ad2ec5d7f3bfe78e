// Tasks that threads share.
#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/task_shares.h"

namespace mambac {
namespace {

using Range = std::pair<int64_t, int64_t>;

/// What a thread gets next of the last stage; an empty range when nothing is left.
Range next(TaskShares& shares, int thread, int64_t most = INT64_MAX) {
  Range range{0, 0};
  if (!shares.take(1, thread, &range.first, &range.second, most)) return {0, 0};
  EXPECT_LT(range.first, range.second);
  return range;
}

TEST(TaskShares, AreTheSameTasksForAThreadEachTime) {
  const std::vector<int64_t> tasks{7, 10};
  TaskShares shares(tasks, 2);
  EXPECT_EQ(next(shares, 1), Range(5, 8));
  EXPECT_EQ(next(shares, 0), Range(0, 3));
  EXPECT_EQ(next(shares, 0), Range(3, 4));
  EXPECT_EQ(next(shares, 1), Range(8, 9));
}

TEST(TaskShares, OfOthersAreTakenFromTheirEnd) {
  const std::vector<int64_t> tasks{7, 10};
  TaskShares shares(tasks, 2);
  EXPECT_EQ(next(shares, 0, 1), Range(0, 1));
  for (int64_t task = 5; task < 10; ++task) EXPECT_EQ(next(shares, 1, 1), Range(task, task + 1));
  EXPECT_EQ(next(shares, 1), Range(3, 5));
  EXPECT_EQ(next(shares, 0), Range(1, 2));
  EXPECT_EQ(next(shares, 1), Range(2, 3));
  EXPECT_EQ(next(shares, 0), Range(0, 0));
}

TEST(TaskShares, MayBeFewOrNone) {
  const std::vector<int64_t> none_tasks{7, 0};
  TaskShares none(none_tasks, 3);
  for (int thread = 0; thread < 3; ++thread) EXPECT_EQ(next(none, thread), Range(0, 0));
  const std::vector<int64_t> few_tasks{7, 2};
  TaskShares few(few_tasks, 3);
  EXPECT_EQ(next(few, 2), Range(0, 1));
  EXPECT_EQ(next(few, 2), Range(1, 2));
  EXPECT_EQ(next(few, 2), Range(0, 0));
}

TEST(TaskShares, MayBeMoreThanNumbersOf32Bits) {
  constexpr int64_t kTasks = (int64_t{1} << 40) + 5;
  const std::vector<int64_t> tasks{7, kTasks};
  TaskShares shares(tasks, 2);
  int64_t sum = 0;
  for (Range range; (range = next(shares, 1)).second > 0;) sum += range.second - range.first;
  EXPECT_EQ(sum, kTasks);
}

TEST(TaskShares, AreDoneOnceByThreadsThatRunAtATime) {
  constexpr int kThreads = 4;
  constexpr int64_t kTasks = 100'000;
  for (const int64_t most : {int64_t{1}, INT64_MAX}) {
    const std::vector<int64_t> tasks{7, kTasks};
    TaskShares shares(tasks, kThreads);
    std::vector<int> done(kTasks, 0);  // each by one thread, if all is well
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread)
      threads.emplace_back([&, thread] {
        for (int64_t begin, end; shares.take(1, thread, &begin, &end, most);)
          for (int64_t task = begin; task < end; ++task) ++done[static_cast<size_t>(task)];
      });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(done, std::vector<int>(kTasks, 1));
  }
}

}  // namespace
}  // namespace mambac
