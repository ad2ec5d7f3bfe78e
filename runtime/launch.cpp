#include "runtime/launch.h"

#include <omp.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

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

void ScratchPool::Release::operator()(void* memory) const { std::free(memory); }

void ScratchPool::reserve(int threads, int64_t bytes) {
  constexpr int64_t kHugePage = int64_t{2} << 20;
  if (bytes > bytes_) {
    blocks_.clear();
    bytes_ = bytes >= kHugePage ? (bytes + kHugePage - 1) / kHugePage * kHugePage : (bytes + 4095) / 4096 * 4096;
  }
  while (bytes_ > 0 && static_cast<int>(blocks_.size()) < threads) {
    const auto size = static_cast<size_t>(bytes_);
    void* memory = std::aligned_alloc(bytes_ >= kHugePage ? kHugePage : 4096, size);
    if (!memory) throw EnvironmentError("out of memory: " + std::to_string(size) + " bytes of scratch memory");
    if (bytes_ >= kHugePage) madvise(memory, size, MADV_HUGEPAGE);
    blocks_.emplace_back(memory);
  }
}

void launch(const CompiledKernel& kernel, void* const* buffers, const std::vector<int64_t>& sizes, ScratchPool& pool) {
  std::vector<int64_t> tasks;
  int64_t scratch = 0, most = 0;
  for (const CompiledStage& stage : kernel.stages) {
    tasks.push_back(evaluate(stage.tasks, {}, sizes));
    scratch = std::max(scratch, stage.scratch_bytes);
    most = std::max(most, tasks.back());
  }
  const int threads = omp_in_parallel() ? 1 : static_cast<int>(std::min<int64_t>(omp_get_max_threads(), most));
  if (threads < 1) return;
  pool.reserve(threads, scratch);

  std::vector<Queue> queues(kernel.stages.size());
  for (size_t i = 0; i < queues.size(); i++) queues[i].open(tasks[i], threads);
  auto run = [&](int thread) {
    const FlushDenormals flush;
    void* own = scratch ? pool.of(thread) : nullptr;
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
