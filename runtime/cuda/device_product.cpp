#include "runtime/cuda/device_product.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "ir/round_up.h"

namespace mambac::cuda {
namespace {

/// What roots of operands are multiples of, in bytes. The library gains nothing by more: no access is wider.
constexpr uint32_t kAlignment = 16;
/// Of the workspace, and of copies.
constexpr size_t kScratchAlignment = 256;
/// Position of the scratch memory behind the pointers to the roots.
constexpr size_t kScratch = 3;

uint32_t alignment_of(const CallOperand& operand) {
  uint32_t alignment = kAlignment;
  while (operand.bytes % alignment != 0) alignment /= 2;
  return alignment;
}

DevicePointer address(const CallOperand& operand, void* const* pointers) {
  return reinterpret_cast<DevicePointer>(operand.in(pointers));
}

}  // namespace

/// A dense matrix in scratch memory, behind what is there so far.
CallOperand DeviceProduct::copied(DType dtype, int64_t elements) {
  const CallOperand place{kScratch, static_cast<int64_t>(scratch_bytes_), dtype, elements};
  scratch_bytes_ += round_up(static_cast<size_t>(elements) * bytes_of(dtype), kScratchAlignment);
  return place;
}

DeviceProduct::DeviceProduct(const CublasLt& library, Stream& stream, TextLoader& texts, const LibraryProduct& call,
                             int algorithm)
    : stream_(stream), a_(call.a), b_(call.b), c_(call.c) {
  MatmulShape shape = call.shape;
  const DType type = shape.a == shape.b ? shape.a : DType::f32;
  const auto convert = [&](std::vector<std::unique_ptr<LaunchCall>>& into, const CallOperand& from,
                           const CallOperand& to, int64_t rows, int64_t columns, int64_t from_row, int64_t to_row) {
    into.push_back(
        std::make_unique<LaunchCall>(stream, texts, convert_launch(from, to, rows, columns, from_row, to_row)));
  };
  const auto widen = [&](CallOperand& operand, DType& dtype, int64_t rows, int64_t columns, int64_t& leading) {
    if (dtype == type) return;
    const CallOperand from = operand;
    operand = copied(type, rows * columns);
    convert(before_, from, operand, rows, columns, leading, columns);
    dtype = type;
    leading = columns;
  };
  widen(a_, shape.a, shape.transpose_a ? shape.k : shape.m, shape.transpose_a ? shape.m : shape.k, shape.lda);
  widen(b_, shape.b, shape.transpose_b ? shape.n : shape.k, shape.transpose_b ? shape.k : shape.n, shape.ldb);
  if (shape.c != type && shape.c != DType::f32) {
    const CallOperand to = c_;
    c_ = copied(DType::f32, shape.m * shape.n);
    convert(after_, c_, to, shape.m, shape.n, shape.n, shape.ldc);
    shape.c = DType::f32;
    shape.ldc = shape.n;
  }
  DeviceMatmulOptions options{.algorithm = algorithm};
  options.alignment = std::min({alignment_of(a_), alignment_of(b_), alignment_of(c_)});
  product_.emplace(library, shape, options);
  workspace_ = copied(DType::u8, static_cast<int64_t>(product_->workspace_bytes()));
}

void DeviceProduct::run(void* const* pointers, void* scratch) {
  const std::array<void*, kScratch + 1> all{pointers[0], pointers[1], pointers[2], scratch};
  for (const void* root : all)
    if (reinterpret_cast<DevicePointer>(root) % kAlignment != 0)
      throw InternalError(fmt::format("a matrix product was given memory that is not aligned to {} bytes", kAlignment));
  for (const auto& copy : before_) copy->run(all.data(), nullptr);
  product_->run(stream_, {.a = address(a_, all.data()),
                          .b = address(b_, all.data()),
                          .c = address(c_, all.data()),
                          .workspace = address(workspace_, all.data())});
  for (const auto& copy : after_) copy->run(all.data(), nullptr);
}

}  // namespace mambac::cuda
