#include "runtime/cuda/emulator.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <numeric>
#include <random>

#include "ir/trace.h"
#include "runtime/cuda/emulated_library.h"

namespace mambac {
namespace {

/// Blocks that nobody runs at the moment; their stacks and shadows are used again.
class BlockPool {
 public:
  std::unique_ptr<EmulatedBlock> take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<EmulatedBlock>();
    auto block = std::move(free_.back());
    free_.pop_back();
    return block;
  }
  void give_back(std::unique_ptr<EmulatedBlock> block) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(block));
  }
  static BlockPool& instance() {
    static BlockPool pool;
    return pool;
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<EmulatedBlock>> free_;
};

/// Shadows of a launch's buffers. Buffers that overlap share them, in units of the smallest element among them.
class BufferShadows {
 public:
  explicit BufferShadows(std::vector<mb_argument>& arguments, const char* kinds) {
    struct Range {
      uintptr_t begin, end;
      int unit;
      std::vector<mb_argument*> buffers;
    };
    std::vector<Range> ranges;
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (kinds[i] == 'n') continue;
      const auto begin = reinterpret_cast<uintptr_t>(arguments[i].data);
      const int unit = element_bytes(kinds[i]);
      ranges.push_back({begin, begin + static_cast<uintptr_t>(arguments[i].count * unit), unit, {&arguments[i]}});
    }
    std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
    std::vector<Range> merged;
    for (Range& range : ranges) {
      if (merged.empty() || range.begin >= merged.back().end) {
        merged.push_back(range);
        continue;
      }
      Range& into = merged.back();
      into.end = std::max(into.end, range.end);
      into.unit = std::min(into.unit, range.unit);
      into.buffers.push_back(range.buffers[0]);
    }
    for (const Range& range : merged) {
      const auto unit = static_cast<uintptr_t>(range.unit);
      memory_.push_back(std::make_unique<mb_shadow[]>((range.end - range.begin) / unit + 1));
      for (mb_argument* buffer : range.buffers) {
        buffer->unit = range.unit;
        buffer->shadows = memory_.back().get() + (reinterpret_cast<uintptr_t>(buffer->data) - range.begin) / unit;
      }
    }
  }

 private:
  std::vector<std::unique_ptr<mb_shadow[]>> memory_;
};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == ',')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

std::vector<mb_argument> bind(const mb_kernel& kernel, const std::vector<std::string>& names,
                              std::span<const EmulatedArgument> arguments) {
  const std::string kinds = kernel.kinds;
  if (kinds.size() != arguments.size())
    throw InternalError(
        fmt::format("{} has {} parameters and was given {} arguments", kernel.name, kinds.size(), arguments.size()));
  std::vector<mb_argument> bound;
  for (size_t i = 0; i < kinds.size(); ++i) {
    const auto* buffer = std::get_if<EmulatedBuffer>(&arguments[i]);
    if ((kinds[i] == 'n') == (buffer != nullptr))
      throw InternalError(fmt::format("{}: parameter '{}' is a {}, the argument is not", kernel.name, names[i],
                                      kinds[i] == 'n' ? "number" : "buffer"));
    if (buffer)
      bound.push_back({buffer->data, buffer->count, nullptr, 1, names[i].c_str()});
    else
      bound.push_back({nullptr, std::get<int64_t>(arguments[i]), nullptr, 1, names[i].c_str()});
  }
  return bound;
}

/// The blocks in an order that the seed says. Each block's own order depends on the seed and its number alone.
void run_blocks(const mb_kernel& kernel, const std::vector<mb_argument>& arguments, int64_t blocks, int threads,
                uint64_t seed, bool in_parallel) {
  std::vector<int64_t> order(static_cast<size_t>(blocks));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937_64(seed));
  std::exception_ptr failure;
  bool failed = false;
  const int workers = in_parallel ? static_cast<int>(std::min<int64_t>(omp_get_max_threads(), blocks)) : 1;
#pragma omp parallel num_threads(workers)
  {
    auto block = BlockPool::instance().take();
#pragma omp for schedule(dynamic)
    for (size_t i = 0; i < order.size(); ++i) {
      bool stop = false;
#pragma omp atomic read
      stop = failed;
      if (stop) continue;
      try {
        block->run(kernel, arguments.data(), order[i], threads, seed);
      } catch (...) {
#pragma omp critical(mambac_emulator_failure)
        if (!failure) failure = std::current_exception();
#pragma omp atomic write
        failed = true;
      }
    }
    BlockPool::instance().give_back(std::move(block));
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

int element_bytes(char kind) {
  switch (kind) {
    case 'f':
    case 'F':
    case 'i':
    case 'I':
      return 4;
    case 'u':
    case 'U':
      return 1;
    default:
      return 2;
  }
}

EmulatedModule::EmulatedModule(const mb_kernel* kernels) {
  for (; kernels->name; ++kernels) kernels_.push_back(kernels);
}

std::filesystem::path EmulatedModule::default_cache_folder() {
  const char* folder = std::getenv("MAMBAC_EMULATED_CACHE");
  return folder ? folder : "";
}

std::shared_ptr<const EmulatedModule> EmulatedModule::compile(const std::string& text,
                                                              const std::filesystem::path& cache_folder) {
  const trace::Span span("compile", "compile for the host");
  return std::shared_ptr<const EmulatedModule>(new EmulatedModule(emulated_kernels(text, cache_folder)));
}

std::vector<std::string> EmulatedModule::kernels() const {
  std::vector<std::string> names;
  for (const mb_kernel* kernel : kernels_) names.push_back(kernel->name);
  return names;
}

const mb_kernel& EmulatedModule::find(const std::string& name) const {
  for (const mb_kernel* kernel : kernels_)
    if (kernel->name == name) return *kernel;
  throw InternalError(fmt::format("the text has no kernel '{}'", name));
}

void EmulatedModule::launch(const std::string& name, int64_t blocks, int threads,
                            std::span<const EmulatedArgument> arguments, const EmulationOptions& options) const {
  const mb_kernel& kernel = find(name);
  if (threads != kernel.threads || threads % 32 != 0 || threads > 1024 || threads <= 0)
    throw InternalError(
        fmt::format("{} is for blocks of {} threads (a multiple of 32, at most 1024), and was launched with "
                    "{}",
                    name, kernel.threads, threads));
  if (blocks <= 0) throw InternalError(fmt::format("{} was launched with {} blocks", name, blocks));
  const std::vector<std::string> names = split(kernel.parameters);
  std::vector<mb_argument> bound = bind(kernel, names, arguments);
  std::unique_ptr<BufferShadows> shadows;
  if (options.check_global_races) {
    constexpr int64_t kMostBlocks = (int64_t{1} << 24) - 2;  // what a shadow has room for
    if (blocks > kMostBlocks) throw InternalError(fmt::format("{}: too many blocks to compare: {}", name, blocks));
    shadows = std::make_unique<BufferShadows>(bound, kernel.kinds);
  }
  run_blocks(kernel, bound, blocks, threads, options.seed, !options.check_global_races);
}

}  // namespace mambac
