#include "tests/fake_cuda_kernels.h"

#include <algorithm>
#include <cstring>

#include "codegen/cuda/device_header.h"

namespace mambac::fake {

namespace {

std::string behind_header(const std::string& source) {
  return source.starts_with(cuda_device_header()) ? source.substr(cuda_device_header().size()) : "";
}

template <class T>
T argument(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace

Kernels::Kernels(const std::string& source) : source_(source) {
  if (const std::string text = behind_header(source); !text.empty()) module_ = EmulatedModule::compile(text);
}

std::vector<std::string> Kernels::names() const {
  return module_ ? module_->kernels() : std::vector<std::string>{"add_one"};
}

bool Kernels::has(const std::string& name) const {
  if (!module_) return source_.find(name + "(") != std::string::npos;
  return std::ranges::count(names(), name) > 0;
}

Work Kernels::add_one(void** arguments) const {
  const auto data = argument<cuda::DevicePointer>(arguments[0]);
  const int n = argument<int>(arguments[1]);
  return [data, n] {
    auto* numbers = static_cast<float*>(memory_at(data, static_cast<size_t>(n) * sizeof(float)));
    for (int i = 0; i < n; ++i) numbers[i] += 1;
  };
}

bool Kernels::await_kernels() const {
  const auto count = [&](const std::string& part) {
    size_t found = 0;
    for (size_t at = source_.find(part); at != std::string::npos; at = source_.find(part, at + 1)) ++found;
    return found;
  };
  return count("\n  mb_await_kernels();") == count("\nMB_KERNEL(");
}

Work Kernels::launch(const std::string& name, int64_t blocks, int threads, void** arguments) const {
  if (!module_) return name == "add_one" ? add_one(arguments) : Work([] {});
  const mb_kernel& kernel = module_->find(name);
  if (threads != kernel.threads || blocks <= 0) throw Fault(1, "a grid that the kernel is not made for");
  struct Argument {
    uint64_t value;  // an address or a number
    int bytes;       // of an element; 0: a number
  };
  std::vector<Argument> given;
  for (const char* kind = kernel.kinds; *kind != '\0'; ++kind, ++arguments)
    given.push_back({argument<uint64_t>(*arguments), *kind == 'n' ? 0 : element_bytes(*kind)});
  return [module = module_, name, blocks, threads, given] {
    static uint64_t seed = 0;
    std::vector<EmulatedArgument> bound;
    for (const Argument& one : given) {
      if (one.bytes == 0) {
        bound.emplace_back(static_cast<int64_t>(one.value));
      } else {
        const size_t bytes = bytes_behind(one.value);
        bound.emplace_back(EmulatedBuffer{memory_at(one.value, bytes), static_cast<int64_t>(bytes) / one.bytes});
      }
    }
    try {
      module->launch(name, blocks, threads, bound, {.seed = ++seed});
    } catch (const DeviceFault& fault) {
      throw Fault(700, fault.what());
    }
  };
}

}  // namespace mambac::fake
