#include "tools/cuda_kernels.h"

#include <fmt/format.h>

#include <chrono>
#include <numeric>
#include <set>

#include "codegen/cuda/cuda_emit.h"
#include "ir/error.h"
#include "runtime/cuda/kernel_cache.h"
#include "runtime/cuda/kernel_source.h"
#include "runtime/parallel.h"
#include "runtime/progress.h"
#include "tools/arguments.h"
#include "tools/compile.h"
#include "tools/work_notes.h"

namespace mambac::tools {

std::string architecture_named(const std::string& device) {
  constexpr std::string_view kPrefix = "cuda:";
  if (device.starts_with(kPrefix) && device.substr(kPrefix.size()).starts_with("sm_"))
    return device.substr(kPrefix.size());
  throw InputError(fmt::format("--device: found '{}', expected an architecture such as cuda:sm_90", device));
}

PipelineOptions for_gpu(PipelineOptions options) {
  options.fuse = device_options(gpu_fuse_options(), options.fuse);
  return options;
}

Graph graph_for_gpu(const Model& model, GraphKind kind, DType storage, const Bindings& sizes) {
  return noted_pipeline(source_graph(model, kind), for_gpu(options_for(kind, storage, sizes))).graph;
}

std::vector<int> CudaKernels::add(const Graph& fused, GraphKind kind) {
  std::vector<int> all(fused.kernels.size());
  std::iota(all.begin(), all.end(), 0);
  return add(fused, kind, all);
}

std::vector<int> CudaKernels::add(const Graph& fused, GraphKind kind, const std::vector<int>& chosen) {
  std::set<std::string> used;
  for (const CudaKernel& kernel : kernels_) used.insert(kernel.name);
  const Layouts layouts(fused);
  std::vector<int> numbers(fused.kernels.size(), -1);
  for (const int number : chosen) {
    const auto k = static_cast<size_t>(number);
    if (fused.kernels[k].kind == KernelGroup::library) continue;
    CudaKernel made;
    made.loops = lower(fused, layouts, number, schedule_(fused, number), DeviceKind::gpu).kernel;
    made.text = cuda_emit::emit(made.loops, &made.nests);
    const auto [entry, fresh] = by_text_.emplace(made.text, static_cast<int>(kernels_.size()));
    numbers[k] = entry->second;
    if (fresh) {
      made.name = loop::unique_name(made.loops.name, used);
      used.insert(made.name);
      kernels_.push_back(std::move(made));
    }
    ++kernels_[static_cast<size_t>(numbers[k])].launches[kind];
  }
  return numbers;
}

const cuda::KernelUse& use_of(const CudaKernel& kernel, const std::string& symbol) {
  for (const cuda::KernelUse& use : kernel.code.kernels)
    if (use.name == symbol) return use;
  throw InternalError(fmt::format("the assembler's report on {} lacks {}", kernel.name, symbol));
}

namespace {

/// Shows how many of the kernels are done; called by all threads.
class Count {
 public:
  explicit Count(size_t all) : all_(static_cast<int64_t>(all)) {}

  void one_more() {
#pragma omp critical(mambac_compiled_kernels)
    progress_.update(CountReport{++done_, all_, "kernels", seconds()});
  }
  void finish() {
    progress_.finish();
  }
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  const int64_t all_;
  Progress progress_ = Progress::on_stderr();
  int64_t done_ = 0;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

CompileSummary compile_all(CudaKernels& kernels, const std::string& architecture,
                           const std::vector<std::string>& options) {
  const cuda::Nvrtc& nvrtc = cuda::Nvrtc::instance();
  cuda::KernelCache cache(cuda::KernelCache::default_folder(), talk);
  std::vector<CudaKernel>& all = kernels.all();
  Count count(all.size());
  for_each_in_parallel(all.size(), [&](size_t i) {
    cuda::CompileRequest request = cuda::request_for(all[i].name, all[i].text, architecture);
    request.options = options;
    all[i].code = cache.compile(nvrtc, request);
    count.one_more();
  });
  count.finish();
  return {count.seconds(), cache.counts().found};
}

}  // namespace mambac::tools
