// The calls of library kernels that no library serves on a GPU, as CUDA C++ texts around codegen/cuda/library.cuh.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/library_shapes.h"

namespace mambac {

/// One launch of a kernel `symbol` whose parameters are the buffers and then the numbers.
struct LibraryLaunch {
  std::string text;  // stands behind a device header; calls of one kind have one text
  std::string symbol;
  int64_t blocks = 0;
  int threads = 0;
  std::vector<CallOperand> buffers;
  std::vector<int64_t> numbers;
};

/// The same sums in the same order as on a CPU, without atomics: each element of a table is summed by one thread.
LibraryLaunch table_launch(const TableLookup& call);

/// A matrix of `rows` rows, which lie `from_row` and `to_row` elements apart, in another element type.
LibraryLaunch convert_launch(const CallOperand& from, const CallOperand& to, int64_t rows, int64_t columns,
                             int64_t from_row, int64_t to_row);

}  // namespace mambac
