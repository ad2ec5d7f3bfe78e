#include "runtime/task_shares.h"

#include <algorithm>

namespace mambac {
namespace {

/// Tasks that are handed out together, 1 where they can be numbered with 32 bits.
int64_t block_of(int64_t tasks) { return (tasks >> 32) + 1; }

struct Blocks {
  uint64_t first, end;

  explicit Blocks(uint64_t packed) : first(packed >> 32), end(packed & 0xffffffff) {}
  Blocks(uint64_t begin, uint64_t stop) : first(begin), end(stop) {}
  uint64_t packed() const { return first << 32 | end; }
};

}  // namespace

TaskShares::TaskShares(std::span<const int64_t> tasks, int threads)
    : tasks_(tasks), threads_(threads), shares_(new Share[tasks.size() * static_cast<size_t>(threads)]) {
  Share* share = shares_.get();
  const auto count = static_cast<uint64_t>(threads);
  for (const int64_t all : tasks) {
    const auto blocks = static_cast<uint64_t>((all + block_of(all) - 1) / block_of(all));
    const uint64_t each = blocks / count, more = blocks % count;
    for (uint64_t i = 0; i < count; i++) {
      const uint64_t first = i * each + std::min(i, more);
      (share++)->left.store(Blocks(first, first + each + (i < more ? 1 : 0)).packed(), std::memory_order_relaxed);
    }
  }
}

bool TaskShares::take(size_t stage, int thread, int64_t* begin, int64_t* end, int64_t most) {
  const int64_t tasks = tasks_[stage], block = block_of(tasks);
  const auto most_blocks = static_cast<uint64_t>(std::max<int64_t>(1, most / block));
  Share* const shares = shares_.get() + stage * static_cast<size_t>(threads_);
  for (int i = 0; i < threads_; i++) {
    std::atomic<uint64_t>& left = shares[(thread + i) % threads_].left;
    uint64_t seen = left.load(std::memory_order_relaxed);
    for (Blocks blocks(seen); blocks.first < blocks.end; blocks = Blocks(seen)) {
      const uint64_t count = std::min((blocks.end - blocks.first + 1) / 2, most_blocks);
      const bool own = i == 0;  // others take from the end, so that the share's own thread goes on where it is
      const uint64_t first = own ? blocks.first : blocks.end - count;
      const Blocks rest = own ? Blocks(first + count, blocks.end) : Blocks(blocks.first, first);
      if (!left.compare_exchange_weak(seen, rest.packed(), std::memory_order_relaxed)) continue;
      *begin = static_cast<int64_t>(first) * block;
      *end = std::min(static_cast<int64_t>(first + count) * block, tasks);
      return true;
    }
  }
  return false;
}

}  // namespace mambac
