// Loop IR to CUDA C++ text.
#pragma once

#include <string>
#include <vector>

#include "codegen/machine/nest.h"
#include "codegen/loop_ir.h"

namespace mambac::cuda_emit {

/// Shared memory that the arrays of a task may take; the rest of the 48 KiB is left to reductions.
constexpr int64_t kSharedBytes = 40 << 10;

/// Sizes that a kernel is called with: what is computed of them mostly fits into 32 bits, which take half as long.
constexpr int64_t kLargestSize = int64_t{1} << 30;
/// InputError for a size beyond that.
void check_sizes(const std::vector<std::string>& names, const std::vector<int64_t>& sizes);

/// The vocabulary's name of an element type.
std::string type_name(DType dtype);

/// Name of the function of a stage.
std::string stage_symbol(const loop::Kernel& kernel, size_t stage);

/// One function per stage,
///   stage_symbol(buffers..., sizes...)   in the order of the kernel, sizes as mb_long
/// to be launched with a block of threads_of threads for every task. The text stands after the device header
/// (codegen/cuda/device.cuh); equal kernels give equal text. `nests`, where asked for: that of each stage;
/// `line_origins`: by line the origin of the statement that it belongs to; -1: none.
std::string emit(const loop::Kernel& kernel, std::vector<machine::Nest>* nests = nullptr,
                 std::vector<int>* line_origins = nullptr);

}  // namespace mambac::cuda_emit
