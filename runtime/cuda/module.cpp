#include "runtime/cuda/module.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "runtime/progress.h"

namespace mambac::cuda {

Module::Module(const Device& device, const std::string& cubin, const std::string& origin) {
  device.enter();
  std::array<char, 4096> log{};
  std::array<int, 2> options{kJitErrorLog, kJitErrorLogBytes};
  std::array<void*, 2> values{log.data(), reinterpret_cast<void*>(log.size() - 1)};
  ModuleHandle handle = nullptr;
  const Status status =
      device.api().cuModuleLoadDataEx(&handle, cubin.data(), options.size(), options.data(), values.data());
  const std::string said = log[0] != '\0' ? fmt::format(" (\"{}\")", log.data()) : "";
  device.expect(status, "load", "the machine code of " + origin + said);
  module_ = {device, handle};
}

Kernel Module::kernel(const std::string& name) const {
  const Device& device = module_.device();
  device.enter();
  FunctionHandle handle = nullptr;
  device.expect(device.api().cuModuleGetFunction(&handle, module_.get(), name.c_str()), "find kernel", name);
  return {device, handle, name};
}

KernelResources Kernel::resources() const {
  device_->enter();
  const auto attribute = [&](FunctionAttribute which) {
    int value = 0;
    device_->expect(device_->api().cuFuncGetAttribute(&value, which, handle_), "ask for the resources of", name_);
    return value;
  };
  return {attribute(kFunctionRegisters), attribute(kFunctionLocalBytes), attribute(kFunctionStaticSharedBytes),
          attribute(kFunctionMaxThreads)};
}

void Kernel::allow_dynamic_shared(size_t bytes) const {
  const size_t most = device_->info().shared_bytes_per_block;
  if (bytes > most)
    throw EnvironmentError(fmt::format("{}: kernel {} needs {} of shared memory in a block, the device has {}",
                                       device_->str(), name_, byte_text(static_cast<double>(bytes)),
                                       byte_text(static_cast<double>(most))));
  device_->enter();
  device_->expect(device_->api().cuFuncSetAttribute(handle_, kFunctionMaxDynamicSharedBytes, static_cast<int>(bytes)),
                  "raise the shared memory of", name_);
}

int Kernel::blocks_per_multiprocessor(int threads, size_t dynamic_shared_bytes) const {
  device_->enter();
  int blocks = 0;
  device_->expect(
      device_->api().cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, handle_, threads, dynamic_shared_bytes),
      "count the resident blocks of", name_);
  return blocks;
}

}  // namespace mambac::cuda
