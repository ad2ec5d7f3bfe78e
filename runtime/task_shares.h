// Tasks shared out among threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

namespace mambac {

/// The tasks of stages that run one after the other. Each thread has a share of neighbouring tasks, the same one at
/// each launch: what it wrote is near it when a later kernel reads the same rows. A thread that is done with its share
/// helps others, because tasks and threads differ in speed.
class TaskShares {
 public:
  /// So many tasks in each stage.
  TaskShares(std::span<const int64_t> tasks, int threads);

  /// The next tasks of a thread in a stage, [begin, end): half of what is left of a share, because neighbouring tasks
  /// stream through neighbouring memory, but at most so many. False when none are left. From any thread.
  bool take(size_t stage, int thread, int64_t* begin, int64_t* end, int64_t most = INT64_MAX);

 private:
  /// Two numbers of blocks in one: the first that nobody has, and the end. On a cache line of its own.
  struct Share {
    std::atomic<uint64_t> left;
    char apart[56];
  };

  std::span<const int64_t> tasks_;
  int threads_;
  std::unique_ptr<Share[]> shares_;  // of the first stage's threads, then of the next one's
};

}  // namespace mambac
