#include "runtime/cuda/launch_call.h"

#include <fmt/format.h>

#include <climits>

namespace mambac::cuda {
namespace {

std::vector<LaunchCall::Address> addresses_of(const std::vector<CallOperand>& buffers) {
  std::vector<LaunchCall::Address> addresses;
  for (const CallOperand& buffer : buffers) addresses.push_back({buffer.pointer, buffer.bytes});
  return addresses;
}

}  // namespace

LaunchCall::LaunchCall(Stream& stream, std::shared_ptr<const LoadedText> text, const std::vector<Step>& steps,
                       std::vector<Address> addresses, std::vector<int64_t> numbers)
    : stream_(stream),
      text_(std::move(text)),
      addresses_(std::move(addresses)),
      pointers_(addresses_.size()),
      numbers_(std::move(numbers)) {
  for (const Step& step : steps) {
    if (step.blocks <= 0 || step.blocks > INT_MAX)  // the most that CUDA has in a grid's first dimension
      throw InternalError(fmt::format("kernel {} cannot be launched with {} blocks", step.symbol, step.blocks));
    LaunchShape shape;
    shape.grid[0] = static_cast<unsigned>(step.blocks);
    shape.block[0] = static_cast<unsigned>(step.threads);
    shape.awaits_kernels = step.awaits_kernels;
    launches_.push_back({text_->kernel(step.symbol), shape});
  }
  for (DevicePointer& pointer : pointers_) arguments_.push_back(&pointer);
  for (int64_t& number : numbers_) arguments_.push_back(&number);
}

LaunchCall::LaunchCall(Stream& stream, TextLoader& texts, const LibraryLaunch& launch)
    : LaunchCall(stream, texts.load({{launch.symbol, launch.text}}).front(),
                 {{launch.symbol, launch.blocks, launch.threads, false}}, addresses_of(launch.buffers), launch.numbers) {}

void LaunchCall::run(void* const* pointers, void*) {
  for (size_t i = 0; i < addresses_.size(); ++i)
    pointers_[i] = reinterpret_cast<DevicePointer>(pointers[addresses_[i].pointer]) +
                   static_cast<DevicePointer>(addresses_[i].bytes);
  for (const Launch& launch : launches_) stream_.launch(launch.kernel, launch.shape, arguments_.data());
}

}  // namespace mambac::cuda
