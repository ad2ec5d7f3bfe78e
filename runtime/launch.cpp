#include "runtime/launch.h"

#include <omp.h>

#include <algorithm>
#include <atomic>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "ir/error.h"

namespace mambac {
namespace {

/// While it lives, this thread's denormal numbers count as 0: states that decay would otherwise end in denormals, which
/// cost a hundred cycles each.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | kFlushResults | kFlushOperands); }
  ~FlushDenormals() { _mm_setcsr(saved_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  static constexpr unsigned kFlushResults = 0x8000, kFlushOperands = 0x0040;
  unsigned saved_;
#endif
};

/// The tasks of one stage, handed out in blocks: large ones first, because neighbouring tasks stream through
/// neighbouring memory, then smaller ones, because tasks and threads differ in speed.
struct Queue {
  int64_t tasks = 0;
  int64_t shares = 1;
  std::atomic<int64_t> next{0};

  void open(int64_t count, int threads) {
    constexpr int64_t kSharesPerThread = 2;
    tasks = count;
    shares = threads * kSharesPerThread;
    next.store(0, std::memory_order_relaxed);
  }

  bool take(int64_t* begin, int64_t* end) {
    *begin = next.load(std::memory_order_relaxed);
    do {
      if (*begin >= tasks) return false;
      *end = *begin + std::max<int64_t>(1, (tasks - *begin) / shares);
    } while (!next.compare_exchange_weak(*begin, *end, std::memory_order_relaxed));
    return true;
  }
};

}  // namespace

Scratch scratch_for(const CompiledKernel& kernel) {
  Scratch scratch{omp_get_max_threads(), 0, nullptr};
  for (const CompiledStage& stage : kernel.stages)
    scratch.bytes_per_thread = std::max(scratch.bytes_per_thread, (stage.scratch_bytes + 4095) / 4096 * 4096);
  return scratch;
}

void launch(const CompiledKernel& kernel, void* const* buffers, const std::vector<int64_t>& sizes,
            const Scratch& scratch) {
  std::vector<int64_t> tasks;
  int64_t most = 0;
  for (const CompiledStage& stage : kernel.stages) {
    tasks.push_back(evaluate(stage.tasks, {}, sizes));
    most = std::max(most, tasks.back());
  }
  const int threads = omp_in_parallel()
                          ? 1
                          : static_cast<int>(std::min<int64_t>(std::min(omp_get_max_threads(), scratch.threads), most));
  if (threads < 1) return;

  std::vector<Queue> queues(kernel.stages.size());
  for (size_t i = 0; i < queues.size(); i++) queues[i].open(tasks[i], threads);
  auto run = [&](int thread) {
    const FlushDenormals flush;
    void* own = scratch.of(thread);
    for (size_t i = 0; i < queues.size(); i++) {
      if (i > 0 && threads > 1) {
#pragma omp barrier
      }
      for (int64_t begin, end; queues[i].take(&begin, &end);)
        kernel.stages[i].run(buffers, sizes.data(), own, begin, end);
    }
  };
  if (threads == 1) return run(0);
#pragma omp parallel num_threads(threads)
  run(omp_get_thread_num());
}

}  // namespace mambac
