// Row-major products through the library's columns: against the plain loops, by a library that does what the reference
// says of cublasLtMatmul.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <vector>

#include "runtime/cuda/cublaslt.h"
#include "runtime/cuda/memory.h"
#include "runtime/element_type.h"
#include "tests/cuda_support.h"
#include "tests/temporary_folder.h"

namespace mambac::cuda {
namespace {

using test::fake_library;
using test::says;
using test::Variable;

size_t bytes_in(DType type) {
  return type == DType::f32 ? 4 : 2;
}

/// A matrix of small integers on the device, with rows `leading` apart, `batch` times.
struct Matrix {
  Matrix(const Device& device, Stream& stream, DType of_type, int64_t of_leading, int64_t of_stride, size_t count,
         int seed)
      : type(of_type), leading(of_leading), stride(of_stride), memory(device, count * bytes_in(type)), values(count) {
    std::vector<char> raw(count * bytes_in(type));
    for (size_t i = 0; i < count; ++i) {
      values[i] = static_cast<float>(static_cast<int>((i * 7 + static_cast<size_t>(seed)) % 5) - 2);
      const uint32_t bits = std::bit_cast<uint32_t>(values[i]);
      if (type == DType::f32) {
        std::memcpy(&raw[4 * i], &bits, 4);
      } else {
        const auto high = static_cast<uint16_t>(bits >> 16);
        std::memcpy(&raw[2 * i], &high, 2);
      }
    }
    stream.copy_to_device(memory.address(), raw.data(), raw.size());
  }
  float at(int64_t batch, int64_t row, int64_t column) const {
    return values[static_cast<size_t>(batch * stride + row * leading + column)];
  }
  /// What the device has, laid out as `values`.
  std::vector<float> download(Stream& stream) const {
    std::vector<char> raw(memory.bytes());
    stream.copy_to_host(raw.data(), memory.address(), raw.size());
    stream.synchronize();
    std::vector<float> found(values.size());
    to_f32(element_type_of(type), raw.data(), static_cast<int64_t>(found.size()), found.data());
    return found;
  }

  DType type;
  int64_t leading, stride;
  DeviceMemory memory;
  std::vector<float> values;
};

class Products : public testing::Test {
 protected:
  /// Runs a product of [m, k] and [k, n] with gaps between rows and compares with the loops.
  void compare(MatmulShape shape, bool bias, bool separate_addend) {
    shape.m = 3, shape.n = 5, shape.k = 4;
    const int64_t rows_a = shape.transpose_a ? shape.k : shape.m, columns_a = shape.transpose_a ? shape.m : shape.k;
    const int64_t rows_b = shape.transpose_b ? shape.n : shape.k, columns_b = shape.transpose_b ? shape.k : shape.n;
    shape.lda = columns_a + 1, shape.ldb = columns_b + 2, shape.ldc = shape.n + 3;
    shape.batch_stride_a = shape.lda * rows_a + 2;
    shape.batch_stride_b = 0;  // one weight for the whole batch
    shape.batch_stride_c = shape.ldc * shape.m + 1;
    const auto count = [&](int64_t stride, int64_t rows, int64_t leading) {
      return static_cast<size_t>((shape.batch - 1) * stride + rows * leading);
    };
    const Matrix a(device, stream, shape.a, shape.lda, shape.batch_stride_a,
                   count(shape.batch_stride_a, rows_a, shape.lda), 1);
    const Matrix b(device, stream, shape.b, shape.ldb, 0, count(0, rows_b, shape.ldb), 2);
    const Matrix c(device, stream, shape.c, shape.ldc, shape.batch_stride_c,
                   count(shape.batch_stride_c, shape.m, shape.ldc), 3);
    const Matrix addend(device, stream, shape.c, shape.ldc, shape.batch_stride_c,
                        count(shape.batch_stride_c, shape.m, shape.ldc), 4);
    const Matrix vector(device, stream, shape.c, 0, 0, static_cast<size_t>(shape.n), 5);
    DeviceMatmul product(library, shape, {.bias = bias});
    const DeviceMemory workspace(device, product.workspace_bytes());
    product.run(stream, {a.memory.address(), b.memory.address(), c.memory.address(),
                         separate_addend ? addend.memory.address() : 0, bias ? vector.memory.address() : 0,
                         workspace.address()});
    const std::vector<float> found = c.download(stream);
    const auto on_device = [&](int64_t batch, int64_t row, int64_t column) {
      return found[static_cast<size_t>(batch * c.stride + row * c.leading + column)];
    };
    for (int64_t i = 0; i < shape.batch; ++i)
      for (int64_t row = 0; row < shape.m; ++row) {
        for (int64_t column = 0; column < shape.n; ++column) {
          float expected = bias ? vector.at(0, 0, column) : 0;
          if (shape.accumulate) expected += (separate_addend ? addend : c).at(i, row, column);
          for (int64_t l = 0; l < shape.k; ++l)
            expected += (shape.transpose_a ? a.at(i, l, row) : a.at(i, row, l)) *
                        (shape.transpose_b ? b.at(0, column, l) : b.at(0, l, column));
          ASSERT_EQ(on_device(i, row, column), expected)
              << shape.str() << " at " << i << ", " << row << ", " << column;
        }
        if (row + 1 < shape.m) {
          ASSERT_EQ(on_device(i, row, shape.n), c.at(i, row, shape.n)) << "the gap was written";
        }
      }
  }

  Driver driver{fake_library()};
  Device device{driver, 0};
  Stream stream{device};
  CublasLt library{device, fake_library()};
};

TEST_F(Products, OfEveryKind) {
  for (const int kind : {0, 1, 2, 3})
    for (const int64_t batch : {1, 3})
      for (const bool bias : {false, true})
        for (const int addend : {0, 1, 2}) {
          MatmulShape shape;
          shape.batch = batch;
          shape.transpose_a = (kind & 1) != 0;
          shape.transpose_b = (kind & 2) != 0;
          shape.accumulate = addend > 0;
          compare(shape, bias, addend == 2);
          shape.a = shape.b = DType::bf16;
          compare(shape, bias, addend == 2);
          shape.c = DType::bf16;
          compare(shape, bias, addend == 2);
        }
}

/// The library offers numbers 42 to 46, refuses 43, and leaves the number that ran in its workspace.
TEST_F(Products, OfEveryAlgorithm) {
  const MatmulShape shape{.m = 4, .n = 4, .k = 4};
  const DeviceMemory operands(device, 3 * 64);
  const auto ran = [&](const DeviceMatmulOptions& options) {
    DeviceMatmul product(library, shape, options);
    EXPECT_LE(product.workspace_bytes(), options.workspace_bytes);
    EXPECT_EQ(product.algorithm(), product.algorithms().at(static_cast<size_t>(options.algorithm)));
    const DeviceMemory workspace(device, product.workspace_bytes());
    const DevicePointer a = operands.address();
    product.run(stream, {.a = a, .b = a + 64, .c = a + 128, .workspace = workspace.address()});
    std::vector<unsigned char> left(workspace.bytes());
    stream.copy_to_host(left.data(), workspace.address(), left.size());
    stream.synchronize();
    return std::pair<int, size_t>{left.back(), left.size()};
  };
  for (int run = 0; run < 2; ++run) {
    EXPECT_EQ(ran({.alignment = 64}), std::pair(42, size_t{1024}));
    EXPECT_EQ(ran({.alignment = 64, .algorithm = 1}), std::pair(44, size_t{3 * 1024}));
    EXPECT_EQ(ran({.alignment = 64, .algorithm = 3}), std::pair(46, size_t{5 * 1024}));
  }
  EXPECT_EQ(ran({.workspace_bytes = 4096, .alignment = 64, .algorithm = 2}), std::pair(45, size_t{4 * 1024}));
  const auto refusal = [&](size_t workspace, int algorithm) {
    return message_of<InputError>(
        [&] { DeviceMatmul(library, shape, {.workspace_bytes = workspace, .algorithm = algorithm}); });
  };
  const std::string message = refusal(4096, 3);
  EXPECT_TRUE(says(message, "algorithm=3: cuBLASLt 13.1.0 has 3 for ", "[4, 4]")) << message;
  EXPECT_TRUE(says(message, "0: 1.02 kB of workspace, 1.00 waves; 1: 3.07 kB", "2: 4.10 kB")) << message;
  EXPECT_TRUE(says(refusal(1 << 20, 4), "algorithm=4:", "has 4 for ")) << refusal(1 << 20, 4);
}

TEST_F(Products, TypesThatDoNotGoTogether) {
  MatmulShape shape;
  shape.m = shape.n = shape.k = 4;
  shape.a = DType::bf16;
  EXPECT_THROW(DeviceMatmul(library, shape), InternalError);
}

TEST_F(Products, FailuresAreTold) {
  MatmulShape shape;
  shape.m = shape.n = shape.k = 4;
  std::string message = message_of<EnvironmentError>([&] { DeviceMatmul(library, shape, {.workspace_bytes = 16}); });
  EXPECT_TRUE(says(message, "no algorithm", "16 bytes of workspace")) << message;
  DeviceMatmul product(library, shape);
  const Variable fail("FAKE_CUDA_FAIL", "cublasLtMatmul=13");
  message = message_of<EnvironmentError>([&] { product.run(stream, {}); });
  EXPECT_TRUE(says(message, "CUBLAS_STATUS_AS_TOLD (13)", "[4, 4]")) << message;
}

TEST_F(Products, VersionAndFailureToStart) {
  EXPECT_EQ(library.version(), "13.1.0");
  const Variable fail("FAKE_CUDA_FAIL", "cublasLtCreate=1");
  const std::string message = message_of<EnvironmentError>([&] { CublasLt(device, fake_library()); });
  EXPECT_TRUE(says(message, "initialise", MAMBAC_FAKE_CUDA)) << message;
}

}  // namespace
}  // namespace mambac::cuda
