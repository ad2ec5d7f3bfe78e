#include "runtime/launch.h"

#include <omp.h>

#include <algorithm>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "runtime/task_shares.h"

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

  if (threads == 1) {
    const FlushDenormals flush;
    for (size_t i = 0; i < tasks.size(); i++)
      kernel.stages[i].run(buffers, sizes.data(), scratch.of(0), 0, tasks[i]);
    return;
  }

  TaskShares shares(tasks, threads);
#pragma omp parallel num_threads(threads)
  {
    const FlushDenormals flush;
    const int thread = omp_get_thread_num();
    for (size_t i = 0; i < tasks.size(); i++) {
      if (i > 0) {
#pragma omp barrier
      }
      for (int64_t begin, end; shares.take(i, thread, &begin, &end);)
        kernel.stages[i].run(buffers, sizes.data(), scratch.of(thread), begin, end);
    }
  }
}

}  // namespace mambac
