#include "tests/faulty_device.h"

#include <thread>

#include "runtime/cpu_device.h"

namespace mambac::test {

namespace {

/// After each such op in the block: its result, multiplied.
void plant(loop::Stage& stage, loop::Block& block, const PlantedFault& fault) {
  for (size_t i = 0; i < block.size(); ++i) {
    plant(stage, block[i].body, fault);
    plant(stage, block[i].otherwise, fault);
    if (block[i].kind != loop::StmtKind::Apply || block[i].op != fault.op) continue;
    loop::Stmt factor, product;
    factor.kind = loop::StmtKind::Number;
    factor.number = fault.factor;
    factor.result = stage.values++;
    product.kind = loop::StmtKind::Apply;
    product.op = Op::Mul;
    product.result = block[i].result;
    block[i].result = stage.values++;
    product.args = {block[i].result, factor.result};
    block.insert(block.begin() + static_cast<std::ptrdiff_t>(i) + 1, {factor, product});
    i += 2;
  }
}

/// The CPU, but for the kernels that are compiled.
class LikeTheCpu : public Device {
 public:
  std::unique_ptr<DeviceMemory> allocate(int64_t bytes) override { return cpu_device().allocate(bytes); }
  void upload(void* to, const void* from, size_t bytes) override { cpu_device().upload(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { cpu_device().download(to, from, bytes); }
  bool memory_is_host() const override { return true; }
  Schedule schedule(const Graph& fused, int number) const override { return cpu_device().schedule(fused, number); }
  std::unique_ptr<Call> library_call(const LibraryKernel& kernel, std::vector<NodeId>* roots) override {
    return cpu_device().library_call(kernel, roots);
  }
};

class FaultyDevice : public LikeTheCpu {
 public:
  explicit FaultyDevice(const PlantedFault& fault) : fault_(fault) {}
  std::string name() const override { return "faulty"; }
  std::vector<std::shared_ptr<const DeviceKernel>> compile(const std::vector<const loop::Kernel*>& kernels) override {
    if (fault_.compilations == 0) return cpu_device().compile(kernels);
    --fault_.compilations;
    std::vector<loop::Kernel> wrong;
    for (const loop::Kernel* kernel : kernels) wrong.push_back(*kernel);
    std::vector<const loop::Kernel*> pointers;
    for (loop::Kernel& kernel : wrong) {
      if (!fault_.where || fault_.where(kernel.schedule))
        for (loop::Stage& stage : kernel.stages) plant(stage, stage.body, fault_);
      pointers.push_back(&kernel);
    }
    return cpu_device().compile(pointers);
  }

 private:
  PlantedFault fault_;
};

using Slower = std::function<std::chrono::milliseconds()>;

class SlowedCall : public Call {
 public:
  SlowedCall(std::unique_ptr<Call> call, const Slower& slower) : call_(std::move(call)), slower_(slower) {}
  void run(void* const* pointers, void* scratch) override {
    std::this_thread::sleep_for(slower_());
    call_->run(pointers, scratch);
  }
  size_t scratch_bytes() const override { return call_->scratch_bytes(); }

 private:
  std::unique_ptr<Call> call_;
  const Slower& slower_;
};

class SlowedKernel : public DeviceKernel {
 public:
  SlowedKernel(std::shared_ptr<const DeviceKernel> kernel, const Slower& slower)
      : kernel_(std::move(kernel)), slower_(slower) {}
  std::unique_ptr<Call> call(const std::vector<int64_t>& sizes, const std::vector<int64_t>& elements) const override {
    return std::make_unique<SlowedCall>(kernel_->call(sizes, elements), slower_);
  }

 private:
  std::shared_ptr<const DeviceKernel> kernel_;
  const Slower& slower_;
};

class SlowedDevice : public LikeTheCpu {
 public:
  explicit SlowedDevice(Slower slower) : slower_(std::move(slower)) {}
  std::string name() const override { return "slowed"; }
  std::vector<std::shared_ptr<const DeviceKernel>> compile(const std::vector<const loop::Kernel*>& kernels) override {
    std::vector<std::shared_ptr<const DeviceKernel>> slowed;
    for (const auto& kernel : cpu_device().compile(kernels))
      slowed.push_back(std::make_shared<SlowedKernel>(kernel, slower_));
    return slowed;
  }

 private:
  const Slower slower_;
};

}  // namespace

std::unique_ptr<Device> faulty_device(const PlantedFault& fault) {
  return std::make_unique<FaultyDevice>(fault);
}

std::unique_ptr<Device> slowed_device(std::function<std::chrono::milliseconds()> slower) {
  return std::make_unique<SlowedDevice>(std::move(slower));
}

}  // namespace mambac::test
