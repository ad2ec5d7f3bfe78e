#include "runtime/cpu_device.h"

#include <fmt/format.h>
#include <omp.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "codegen/llvm_jit.h"
#include "codegen/lower.h"
#include "runtime/cpu_info.h"
#include "runtime/gemm.h"
#include "runtime/launch.h"
#include "runtime/library_calls.h"

namespace mambac {

namespace {

/// Huge pages where the system gives them, zeroed by the system and resident only where they have been touched. What
/// is a good part of one has whole ones to its end: otherwise its rest would lie on them or not, as it happens.
class CpuMemory : public DeviceMemory {
 public:
  explicit CpuMemory(int64_t bytes) : bytes_(static_cast<size_t>(std::max<int64_t>(bytes, 64))) {
    constexpr size_t kHugePage = size_t{1} << 21;
    const size_t pages = (bytes_ + kHugePage - 1) / kHugePage;
    mapped_bytes_ = bytes_ < kHugePage / 4 ? bytes_ : (pages + 1) * kHugePage;
    mapped_ = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped_ == MAP_FAILED)
      throw EnvironmentError(fmt::format("{} MB of memory are not to be had; a smaller batch or context "
                                         "needs less", bytes_ >> 20));
    madvise(mapped_, mapped_bytes_, MADV_HUGEPAGE);
    size_t room = mapped_bytes_;
    memory_ = mapped_;
    std::align(kHugePage, bytes_, memory_, room);
  }
  CpuMemory(const CpuMemory&) = delete;
  CpuMemory& operator=(const CpuMemory&) = delete;
  ~CpuMemory() override { munmap(mapped_, mapped_bytes_); }
  void* data() const override { return memory_; }
  size_t bytes() const override { return bytes_; }

 private:
  size_t bytes_, mapped_bytes_;
  void* mapped_;
  void* memory_;
};

class KernelLaunch : public Call {
 public:
  KernelLaunch(const CompiledKernel& kernel, const std::vector<int64_t>& sizes)
      : kernel_(kernel), sizes_(sizes), scratch_(scratch_for(kernel)) {}

  void run(void* const* pointers, void* scratch) override { launch(kernel_, pointers, sizes_, scratch_.at(scratch)); }
  size_t scratch_bytes() const override { return static_cast<size_t>(scratch_.threads * scratch_.bytes_per_thread); }

 private:
  const CompiledKernel& kernel_;
  std::vector<int64_t> sizes_;
  Scratch scratch_;
};

class CpuKernel : public DeviceKernel {
 public:
  explicit CpuKernel(CompiledKernel kernel) : kernel_(std::move(kernel)) {}
  std::unique_ptr<Call> call(const std::vector<int64_t>& sizes, const std::vector<int64_t>&) const override {
    return std::make_unique<KernelLaunch>(kernel_, sizes);
  }

 private:
  CompiledKernel kernel_;
};

class CpuDevice : public Device {
 public:
  explicit CpuDevice(Jit& jit) : jit_(jit) {}
  std::string name() const override { return "cpu"; }
  DeviceModel model() const override {
    const std::string processor = jit_.processor();
    return {"CPU " + processor, processor, compiler_library(), gemm_library(), "", omp_get_max_threads()};
  }
  std::unique_ptr<DeviceMemory> allocate(int64_t bytes) override { return std::make_unique<CpuMemory>(bytes); }
  void upload(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  bool memory_is_host() const override { return true; }
  std::unique_ptr<DeviceMemory> allocate_zeroed(int64_t bytes) override { return allocate(bytes); }
  void zero(void* to, size_t bytes) override { std::memset(to, 0, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  Schedule schedule(const Graph& fused, int number) const override {
    return default_schedule(fused, number, {jit_.native_width(), cpu_info().halves_vectors});
  }
  std::vector<std::shared_ptr<const DeviceKernel>> compile(const std::vector<const loop::Kernel*>& kernels) override {
    std::vector<std::shared_ptr<const DeviceKernel>> made;
    for (CompiledKernel& kernel : jit_.compile(kernels))
      made.push_back(std::make_shared<CpuKernel>(std::move(kernel)));
    return made;
  }
  std::unique_ptr<Call> library_call(const LibraryKernel& kernel, std::vector<NodeId>* roots) override {
    return make_library_call(kernel, roots);
  }

 private:
  Jit& jit_;
};

}  // namespace

Device& cpu_device() {
  static CpuDevice device(Jit::host());
  return device;
}

Device& unoptimised_cpu_device() {
  static Jit jit("host", false);
  static CpuDevice device(jit);
  return device;
}

}  // namespace mambac
