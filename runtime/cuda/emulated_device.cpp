#include "runtime/cuda/emulated_device.h"

#include <cstring>
#include <map>
#include <set>

#include "codegen/cuda/cuda_emit.h"
#include "codegen/lower.h"
#include "runtime/cpu_device.h"
#include "runtime/cuda/library_kernels.h"
#include "runtime/library_calls.h"

namespace mambac {

namespace {

/// Launches the stages of a kernel one after another.
class EmulatedLaunch : public Call {
 public:
  EmulatedLaunch(std::shared_ptr<const EmulatedModule> module, const loop::Kernel& kernel, std::vector<int64_t> sizes,
                 std::vector<int64_t> elements, const EmulationOptions& options)
      : module_(std::move(module)),
        kernel_(kernel),
        sizes_(std::move(sizes)),
        elements_(std::move(elements)),
        options_(options) {}

  void run(void* const* pointers, void*) override {
    std::vector<EmulatedArgument> arguments;
    for (size_t i = 0; i < elements_.size(); ++i) arguments.emplace_back(EmulatedBuffer{pointers[i], elements_[i]});
    for (int64_t size : sizes_) arguments.emplace_back(size);
    for (size_t i = 0; i < kernel_.stages.size(); ++i)
      module_->launch(cuda_emit::stage_symbol(kernel_, i), loop::evaluate(kernel_.stages[i].tasks, {}, sizes_),
                      threads_of(kernel_, kernel_.stages[i]), arguments, options_);
    ++options_.seed;
  }

 private:
  std::shared_ptr<const EmulatedModule> module_;
  const loop::Kernel& kernel_;
  std::vector<int64_t> sizes_, elements_;
  EmulationOptions options_;
};

class EmulatedKernel : public DeviceKernel {
 public:
  EmulatedKernel(std::shared_ptr<const EmulatedModule> module, loop::Kernel kernel, const EmulationOptions& options)
      : module_(std::move(module)), kernel_(std::move(kernel)), options_(options) {}
  std::unique_ptr<Call> call(const std::vector<int64_t>& sizes, const std::vector<int64_t>& elements) const override {
    cuda_emit::check_sizes(kernel_.sizes, sizes);
    return std::make_unique<EmulatedLaunch>(module_, kernel_, sizes, elements, options_);
  }

 private:
  std::shared_ptr<const EmulatedModule> module_;
  loop::Kernel kernel_;
  EmulationOptions options_;
};

/// A look-up in a table, or its gradient.
class EmulatedTableCall : public Call {
 public:
  EmulatedTableCall(LibraryLaunch launch, const EmulationOptions& options)
      : module_(EmulatedModule::compile(launch.text)), launch_(std::move(launch)), options_(options) {}

  void run(void* const* pointers, void*) override {
    std::vector<EmulatedArgument> arguments;
    for (const CallOperand& buffer : launch_.buffers)
      arguments.emplace_back(EmulatedBuffer{buffer.out(pointers), buffer.elements});
    arguments.insert(arguments.end(), launch_.numbers.begin(), launch_.numbers.end());
    module_->launch(launch_.symbol, launch_.blocks, launch_.threads, arguments, options_);
    ++options_.seed;
  }

 private:
  std::shared_ptr<const EmulatedModule> module_;
  LibraryLaunch launch_;
  EmulationOptions options_;
};

class EmulatedDevice : public Device {
 public:
  explicit EmulatedDevice(const EmulationOptions& options) : options_(options) {}

  std::string name() const override { return "cuda-emulated"; }

  std::unique_ptr<DeviceMemory> allocate(int64_t bytes) override {
    auto memory = cpu_device().allocate(bytes);
    std::memset(memory->data(), 0xff, memory->bytes());
    return memory;
  }

  void upload(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }

  FuseOptions fuse_options() const override { return gpu_fuse_options(); }

  DeviceKind kind() const override { return DeviceKind::gpu; }
  Schedule schedule(const Graph& fused, int number) const override { return default_gpu_schedule(fused, number); }

  /// All in one text, since the compiler takes longer to start than to compile a kernel.
  std::vector<std::shared_ptr<const DeviceKernel>> compile(const std::vector<const loop::Kernel*>& kernels) override {
    std::string text;
    std::map<std::string, std::string> names;  // by the text of a kernel
    std::set<std::string> used;
    std::vector<loop::Kernel> named;
    for (const loop::Kernel* kernel : kernels) {
      named.push_back(*kernel);
      const auto [entry, fresh] = names.emplace(loop::print(*kernel), "");
      if (fresh) {
        entry->second = loop::unique_name(kernel->name, used);
        used.insert(entry->second);
        named.back().name = entry->second;
        text += cuda_emit::emit(named.back()) + "\n";
      }
      named.back().name = entry->second;
    }
    if (kernels.empty()) return {};
    const auto module = EmulatedModule::compile(text);
    std::vector<std::shared_ptr<const DeviceKernel>> made;
    for (loop::Kernel& kernel : named)
      made.push_back(std::make_shared<EmulatedKernel>(module, std::move(kernel), options_));
    return made;
  }

  std::unique_ptr<Call> library_call(const LibraryKernel& kernel, std::vector<NodeId>* roots) override {
    const auto& [fused, layouts, node, sizes, schedule, constant_parameters] = kernel;
    if (fused.node(node).op == Op::Dot) return make_library_call(kernel, roots);
    *roots = library_roots(fused, layouts, node);
    return std::make_unique<EmulatedTableCall>(table_launch(table_lookup(fused, layouts, node, sizes)), options_);
  }

 private:
  EmulationOptions options_;
};

}  // namespace

std::unique_ptr<Device> emulated_cuda_device(const EmulationOptions& options) {
  return std::make_unique<EmulatedDevice>(options);
}

}  // namespace mambac
