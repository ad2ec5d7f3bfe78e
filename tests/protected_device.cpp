#include "tests/protected_device.h"

#include <sys/mman.h>

#include <cstring>

#include "ir/error.h"
#include "runtime/cpu_device.h"

namespace mambac::test {

namespace {

/// A range of addresses that is closed but for the time of an Open.
class Region {
 public:
  Region() {
    void* memory = mmap(nullptr, kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(memory != MAP_FAILED, "protected_device: no addresses");
    begin_ = static_cast<char*>(memory);
  }
  ~Region() { munmap(begin_, kBytes); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  bool contains(const void* address) const { return address >= begin_ && address < begin_ + kBytes; }

  char* take(size_t bytes) {
    constexpr size_t kPage = 4096;
    char* taken = begin_ + used_;
    used_ += (bytes + kPage - 1) / kPage * kPage;
    check(used_ <= kBytes, "protected_device: out of memory");
    return taken;
  }

  class Open {
   public:
    explicit Open(Region& region) : region_(region) { protect(PROT_READ | PROT_WRITE); }
    ~Open() { protect(PROT_NONE); }
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;

   private:
    void protect(int access) {
      if (mprotect(region_.begin_, kBytes, access) != 0) std::terminate();
    }
    Region& region_;
  };

 private:
  static constexpr size_t kBytes = size_t{256} << 20;
  char* begin_ = nullptr;
  size_t used_ = 0;
};

class ProtectedMemory : public DeviceMemory {
 public:
  ProtectedMemory(char* data, size_t bytes) : data_(data), bytes_(bytes) {}
  void* data() const override { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  char* data_;
  size_t bytes_;
};

class ProtectedCall : public Call {
 public:
  ProtectedCall(std::unique_ptr<Call> call, size_t pointers, Region& region)
      : call_(std::move(call)), pointers_(pointers), region_(region) {}
  void run(void* const* pointers, void* scratch) override {
    for (size_t i = 0; i < pointers_; ++i)
      check(region_.contains(pointers[i]), "protected_device: a call gets memory of the host");
    check(!scratch || region_.contains(scratch), "protected_device: a call gets scratch memory of the host");
    const Region::Open open(region_);
    call_->run(pointers, scratch);
  }
  size_t scratch_bytes() const override { return call_->scratch_bytes(); }
  size_t kept_bytes() const override { return call_->kept_bytes(); }
  void forget() override { call_->forget(); }

 private:
  std::unique_ptr<Call> call_;
  size_t pointers_;
  Region& region_;
};

class ProtectedKernel : public DeviceKernel {
 public:
  ProtectedKernel(std::shared_ptr<const DeviceKernel> kernel, Region& region)
      : kernel_(std::move(kernel)), region_(region) {}
  std::unique_ptr<Call> call(const std::vector<int64_t>& sizes, const std::vector<int64_t>& elements) const override {
    return std::make_unique<ProtectedCall>(kernel_->call(sizes, elements), elements.size(), region_);
  }

 private:
  std::shared_ptr<const DeviceKernel> kernel_;
  Region& region_;
};

class ProtectedDevice : public Device {
 public:
  std::string name() const override { return "protected"; }
  std::unique_ptr<DeviceMemory> allocate(int64_t bytes) override {
    auto memory =
        std::make_unique<ProtectedMemory>(region_.take(static_cast<size_t>(bytes)), static_cast<size_t>(bytes));
    const Region::Open open(region_);
    std::memset(memory->data(), 0xff, memory->bytes());
    return memory;
  }
  void upload(void* to, const void* from, size_t bytes) override { copy_across(to, from, bytes, to, from); }
  void download(void* to, const void* from, size_t bytes) override { copy_across(to, from, bytes, from, to); }
  Schedule schedule(const Graph& fused, int number) const override { return cpu_device().schedule(fused, number); }
  std::vector<std::shared_ptr<const DeviceKernel>> compile(const std::vector<const loop::Kernel*>& kernels) override {
    std::vector<std::shared_ptr<const DeviceKernel>> made;
    for (auto& kernel : cpu_device().compile(kernels))
      made.push_back(std::make_shared<ProtectedKernel>(std::move(kernel), region_));
    return made;
  }
  std::unique_ptr<Call> library_call(const LibraryKernel& kernel, std::vector<NodeId>* roots) override {
    auto call = cpu_device().library_call(kernel, roots);
    return std::make_unique<ProtectedCall>(std::move(call), roots->size(), region_);
  }

 private:
  void copy_across(void* to, const void* from, size_t bytes, const void* device, const void* host) {
    check(region_.contains(device), "protected_device: the device's side of a copy is not the device's");
    check(!region_.contains(host), "protected_device: the host's side of a copy is the device's");
    const Region::Open open(region_);
    std::memcpy(to, from, bytes);
  }

  Region region_;
};

}  // namespace

std::unique_ptr<Device> protected_device() {
  return std::make_unique<ProtectedDevice>();
}

}  // namespace mambac::test
