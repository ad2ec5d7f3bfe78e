// A matrix product of a program on a device, by cuBLASLt.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "runtime/cuda/cublaslt.h"
#include "runtime/cuda/launch_call.h"
#include "runtime/library_shapes.h"

namespace mambac::cuda {

/// The library multiplies operands of one element type into that type or f32. Where a product has others, what differs
/// is copied as f32 first, or last; these copies and the library's workspace are the call's scratch memory.
class DeviceProduct : public Call {
 public:
  /// `algorithm`: see DeviceMatmulOptions.
  DeviceProduct(const CublasLt& library, Stream& stream, TextLoader& texts, const LibraryProduct& call, int algorithm);

  void run(void* const* pointers, void* scratch) override;
  size_t scratch_bytes() const override { return scratch_bytes_; }
  std::vector<std::string> algorithms() const override { return product_->algorithms(); }
  std::string algorithm() const override { return product_->algorithm(); }

 private:
  CallOperand copied(DType dtype, int64_t elements);

  Stream& stream_;
  std::optional<DeviceMatmul> product_;
  CallOperand a_, b_, c_, workspace_;
  std::vector<std::unique_ptr<LaunchCall>> before_, after_;
  size_t scratch_bytes_ = 0;
};

}  // namespace mambac::cuda
