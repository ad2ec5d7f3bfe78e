#include "runtime/cuda/cuda_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "codegen/cuda/cuda_emit.h"
#include "codegen/lower.h"
#include "ir/trace.h"
#include "runtime/cuda/device_product.h"
#include "runtime/cuda/libraries.h"
#include "runtime/cuda/library_kernels.h"
#include "runtime/cuda/staging.h"
#include "runtime/progress.h"

namespace mambac {
namespace cuda {
namespace {

class ProgramMemory : public mambac::DeviceMemory {
 public:
  ProgramMemory(const cuda::Device& device, size_t bytes) : memory_(device, bytes) {}
  void* data() const override { return reinterpret_cast<void*>(memory_.address()); }
  size_t bytes() const override { return memory_.bytes(); }

 private:
  cuda::DeviceMemory memory_;
};

/// A kernel of a program. Its loops are in the machine code; what a launch takes is left.
class ProgramKernel : public DeviceKernel {
 public:
  ProgramKernel(Stream& stream, std::shared_ptr<const LoadedText> text, const loop::Kernel& kernel)
      : stream_(stream), text_(std::move(text)), sizes_(kernel.sizes), early_(kernel.schedule.begins_early) {
    for (size_t i = 0; i < kernel.stages.size(); ++i)
      stages_.push_back(
          {cuda_emit::stage_symbol(kernel, i), kernel.stages[i].tasks, threads_of(kernel, kernel.stages[i])});
    for (size_t i = 0; i < kernel.buffers.size(); ++i) addresses_.push_back({i, 0});
  }

  std::unique_ptr<Call> call(const std::vector<int64_t>& sizes, const std::vector<int64_t>&) const override {
    cuda_emit::check_sizes(sizes_, sizes);
    std::vector<LaunchCall::Step> steps;
    for (const Stage& stage : stages_)
      steps.push_back({stage.symbol, loop::evaluate(stage.tasks, {}, sizes), stage.threads, early_});
    return std::make_unique<LaunchCall>(stream_, text_, steps, addresses_, sizes);
  }

  std::vector<KernelUse> uses() const override { return text_->uses(); }

 private:
  struct Stage {
    std::string symbol;
    loop::Int tasks;
    int threads;
  };

  Stream& stream_;
  std::shared_ptr<const LoadedText> text_;
  std::vector<std::string> sizes_;  // their names
  bool early_;  // it awaits the kernels before it by itself
  std::vector<Stage> stages_;
  std::vector<LaunchCall::Address> addresses_;
};

class ProgramGraph : public CapturedCalls {
 public:
  ProgramGraph(Stream& stream, Graph graph) : stream_(stream), graph_(std::move(graph)) {}
  void run() override { stream_.launch(graph_); }

 private:
  Stream& stream_;
  Graph graph_;
};

class ProgramDevice : public mambac::Device {
 public:
  ProgramDevice(int ordinal, const KernelCache::Notice& notice)
      : device_(Driver::instance(), ordinal),
        texts_(device_, Nvrtc::instance(), notice),
        products_(device_),
        stream_(device_),
        staging_(stream_) {}

  std::string name() const override { return fmt::format("cuda:{}", device_.info().ordinal); }

  DeviceModel model() const override {
    return {device_.info().name, device_.info().architecture(), "NVRTC " + Nvrtc::instance().version(),
            "cuBLASLt " + products_.version(),             Driver::instance().version_text(), 0};
  }

  std::unique_ptr<mambac::DeviceMemory> allocate(int64_t bytes) override {
    return std::make_unique<ProgramMemory>(device_, static_cast<size_t>(std::max<int64_t>(bytes, 1)));
  }

  int64_t free_memory() const override { return static_cast<int64_t>(device_.memory().free); }

  void upload(void* to, const void* from, size_t bytes) override {
    staging_.upload(reinterpret_cast<DevicePointer>(to), from, bytes);
  }
  void download(void* to, const void* from, size_t bytes) override {
    staging_.download(to, reinterpret_cast<DevicePointer>(from), bytes);
  }
  void zero(void* to, size_t bytes) override { stream_.fill(reinterpret_cast<DevicePointer>(to), 0, bytes); }
  void copy(void* to, const void* from, size_t bytes) override {
    stream_.copy_on_device(reinterpret_cast<DevicePointer>(to), reinterpret_cast<DevicePointer>(from), bytes);
  }
  void synchronize() override { stream_.synchronize(); }

  std::unique_ptr<CapturedCalls> capture(const std::function<void()>& calls) override {
    const trace::Span span("launch", "capture");
    return std::make_unique<ProgramGraph>(stream_, stream_.capture(calls));
  }

  FuseOptions fuse_options() const override { return gpu_fuse_options(); }

  DeviceKind kind() const override { return DeviceKind::gpu; }
  Schedule schedule(const mambac::Graph& fused, int number) const override {
    return default_gpu_schedule(fused, number);
  }

  std::vector<std::shared_ptr<const DeviceKernel>> compile(const std::vector<const loop::Kernel*>& kernels) override {
    std::map<std::string, std::string> emitted;  // by the loops: many layers share them
    std::vector<TextLoader::Text> texts;
    for (const loop::Kernel* kernel : kernels) {
      const auto [entry, fresh] = emitted.emplace(loop::print(*kernel), "");
      if (fresh) entry->second = cuda_emit::emit(*kernel);
      texts.push_back({kernel->name, entry->second});
    }
    const auto loaded = texts_.load(texts);
    std::vector<std::shared_ptr<const DeviceKernel>> made;
    for (size_t i = 0; i < kernels.size(); ++i)
      made.push_back(std::make_shared<ProgramKernel>(stream_, loaded[i], *kernels[i]));
    return made;
  }

  /// Nothing is kept of constant parameters: the library takes weights as they lie.
  std::unique_ptr<Call> library_call(const LibraryKernel& kernel, std::vector<NodeId>* roots) override {
    const auto& [fused, layouts, node, sizes, schedule, constant_parameters] = kernel;
    *roots = library_roots(fused, layouts, node);
    if (fused.node(node).op == Op::Dot)
      return std::make_unique<DeviceProduct>(products_, stream_, texts_, library_product(fused, layouts, node, sizes),
                                             schedule.algorithm);
    return std::make_unique<LaunchCall>(stream_, texts_, table_launch(table_lookup(fused, layouts, node, sizes)));
  }

 private:
  cuda::Device device_;
  TextLoader texts_;
  CublasLt products_;
  Stream stream_;
  Staging staging_;
};

}  // namespace
}  // namespace cuda

std::unique_ptr<Device> make_cuda_device(int ordinal, const std::function<void(const std::string&)>& notice) {
  return std::make_unique<cuda::ProgramDevice>(ordinal, notice);
}

std::vector<std::string> cuda_device_names() {
  std::vector<std::string> names;
  if (!cuda::find_driver().found()) return names;
  const cuda::Driver& driver = cuda::Driver::instance();
  for (int i = 0; i < driver.device_count(); ++i) {
    const cuda::DeviceInfo info = driver.describe(i);
    names.push_back(fmt::format("cuda:{} ({}, {})", i, info.name, byte_text(static_cast<double>(info.memory))));
  }
  return names;
}

}  // namespace mambac
