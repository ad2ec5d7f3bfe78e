#include "runtime/gemm.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>
#include <vector>

#include "runtime/element_type.h"

namespace mambac {
namespace {

/// Bytes of a matrix with the values it holds.
struct Array {
  DType dtype;
  std::vector<char> bytes;

  Array(DType dtype, int64_t elements, unsigned seed) : dtype(dtype), bytes(elements * bytes_of(dtype)) {
    std::mt19937 random(seed);
    std::vector<float> values(elements);
    for (float& value : values) value = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 1000.0f;
    from_f32(values.data(), elements, element_type_of(dtype), bytes.data());
  }
  std::vector<float> values() const {
    std::vector<float> result(bytes.size() / bytes_of(dtype));
    to_f32(element_type_of(dtype), bytes.data(), static_cast<int64_t>(result.size()), result.data());
    return result;
  }
};

struct Problem {
  MatmulShape shape;
  Array a, b, c;

  static int64_t extent(int64_t batch, int64_t batch_stride, int64_t rows, int64_t ld, int64_t cols) {
    if (batch == 0 || rows == 0) return 1;
    return (batch - 1) * batch_stride + (rows - 1) * (ld == 0 ? cols : ld) + cols + 1;
  }
  explicit Problem(const MatmulShape& s)
      : shape(s),
        a(s.a, s.transpose_a ? extent(s.batch, s.batch_stride_a, s.k, s.lda, s.m)
                             : extent(s.batch, s.batch_stride_a, s.m, s.lda, s.k), 1),
        b(s.b, s.transpose_b ? extent(s.batch, s.batch_stride_b, s.n, s.ldb, s.k)
                             : extent(s.batch, s.batch_stride_b, s.k, s.ldb, s.n), 2),
        c(s.c, extent(s.batch, s.batch_stride_c, s.m, s.ldc, s.n), 3) {}

  /// In f64, straight from the definition; the elements of C outside of the matrices stay.
  std::vector<double> expected() const {
    const MatmulShape& s = shape;
    std::vector<float> av = a.values(), bv = b.values(), cv = c.values();
    std::vector<double> result(cv.begin(), cv.end());
    int64_t lda = s.lda ? s.lda : (s.transpose_a ? s.m : s.k), ldb = s.ldb ? s.ldb : (s.transpose_b ? s.k : s.n);
    int64_t ldc = s.ldc ? s.ldc : s.n;
    for (int64_t e = 0; e < s.batch; ++e) {
      for (int64_t i = 0; i < s.m; ++i) {
        for (int64_t j = 0; j < s.n; ++j) {
          double sum = 0;
          for (int64_t l = 0; l < s.k; ++l) {
            sum += static_cast<double>(av[e * s.batch_stride_a + (s.transpose_a ? l * lda + i : i * lda + l)]) *
                   bv[e * s.batch_stride_b + (s.transpose_b ? j * ldb + l : l * ldb + j)];
          }
          double& place = result[e * s.batch_stride_c + i * ldc + j];
          place = s.accumulate ? place + sum : sum;
        }
      }
    }
    return result;
  }

  void compare(const Array& got) const {
    std::vector<double> want = expected();
    std::vector<float> values = got.values();
    double rounding = shape.c == DType::f32 ? 2e-6 : shape.c == DType::bf16 ? 4e-3 : 5e-4;
    double tolerance = rounding * 3 + 1e-6 * std::sqrt(static_cast<double>(shape.k) + 1);
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(values[i], want[i], tolerance * (1 + std::abs(want[i]))) << shape.str() << " element " << i;
    }
  }

  Array plain() const {
    Array result = c;
    Matmul(shape).run(a.bytes.data(), b.bytes.data(), result.bytes.data());
    return result;
  }
  Array packed() const {
    Array result = c;
    PackedMatmul product(shape);
    product.pack(b.bytes.data());
    product.run(a.bytes.data(), result.bytes.data());
    return result;
  }
};

void check_both(const MatmulShape& shape) {
  Problem problem(shape);
  problem.compare(problem.plain());
  if (shape.batch <= 1 || shape.batch_stride_b == 0) problem.compare(problem.packed());
}

TEST(Gemm, AgreesWithTheDefinition) {
  const int64_t sizes[][3] = {{1, 1, 1},   {1, 300, 40},  {300, 1, 40},    {7, 13, 1},     {5, 17, 33},
                              {64, 64, 64}, {129, 80, 96}, {520, 192, 100}, {80, 600, 150}, {100, 515, 64}};
  for (auto [m, n, k] : sizes) {
    for (bool transpose_a : {false, true}) {
      for (bool transpose_b : {false, true}) {
        for (bool accumulate : {false, true}) {
          MatmulShape shape{.m = m, .n = n, .k = k, .transpose_a = transpose_a, .transpose_b = transpose_b};
          shape.accumulate = accumulate;
          check_both(shape);
          shape.a = shape.b = DType::bf16;
          check_both(shape);
          shape.c = DType::bf16;
          check_both(shape);
        }
      }
    }
  }
}

TEST(Gemm, ConvertsWhatTheLibraryDoesNotTake) {
  const DType types[][3] = {{DType::f16, DType::f16, DType::f16},
                            {DType::f16, DType::f16, DType::f32},
                            {DType::bf16, DType::f32, DType::f32},
                            {DType::f32, DType::bf16, DType::bf16},
                            {DType::f32, DType::f32, DType::bf16}};
  for (auto [a, b, c] : types) {
    for (bool accumulate : {false, true}) {
      check_both({.m = 65, .n = 140, .k = 30, .lda = 33, .ldb = 41, .ldc = 150, .transpose_b = true, .a = a, .b = b,
                  .c = c, .accumulate = accumulate});
      check_both({.batch = 2, .m = 9, .n = 14, .k = 11, .batch_stride_a = 100, .batch_stride_c = 130, .a = a, .b = b,
                  .c = c, .accumulate = accumulate});
    }
  }
}

TEST(Gemm, RowsWithGapsAreLeftAlone) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    check_both({.m = 300, .n = 48, .k = 70, .lda = 141, .ldb = 50, .ldc = 97, .a = dtype, .b = dtype, .c = dtype});
    check_both({.m = 50, .n = 480, .k = 90, .lda = 52, .ldb = 101, .ldc = 500, .transpose_a = true,
                .transpose_b = true, .a = dtype, .b = dtype});
  }
}

TEST(Gemm, Batches) {
  for (int64_t batch : {2, 9}) {
    check_both({.batch = batch, .m = 200, .n = 70, .k = 80, .batch_stride_a = 16000, .batch_stride_b = 5600,
                .batch_stride_c = 14001});
    check_both({.batch = batch, .m = 20, .n = 300, .k = 200, .batch_stride_a = 4000, .batch_stride_c = 6000,
                .a = DType::bf16, .b = DType::bf16});
  }
}

TEST(Gemm, SizesOfZero) {
  check_both({.m = 0, .n = 5, .k = 3});
  check_both({.m = 5, .n = 0, .k = 3});
  check_both({.batch = 0, .m = 5, .n = 4, .k = 3});
  check_both({.m = 5, .n = 4, .k = 0, .ldc = 6});
  check_both({.m = 5, .n = 4, .k = 0, .accumulate = true});
}

TEST(Gemm, RefusesWhatMakesNoSense) {
  EXPECT_ANY_THROW(Matmul({.m = -1, .n = 1, .k = 1}));
  EXPECT_ANY_THROW(Matmul({.m = 4, .n = 4, .k = 4, .ldc = 3}));
  EXPECT_ANY_THROW(Matmul({.m = 4, .n = 4, .k = 4, .a = DType::i32}));
  EXPECT_ANY_THROW(Matmul({.batch = 2, .m = 4, .n = 4, .k = 4}));
  EXPECT_ANY_THROW(PackedMatmul({.batch = 2, .m = 4, .n = 4, .k = 4, .batch_stride_b = 16, .batch_stride_c = 16}));
  std::vector<float> values(16);
  EXPECT_ANY_THROW(PackedMatmul({.m = 4, .n = 4, .k = 4}).run(values.data(), values.data()));
}

TEST(Gemm, PackingAgainReplacesTheWeights) {
  MatmulShape shape{.m = 40, .n = 200, .k = 64, .transpose_b = true, .a = DType::bf16, .b = DType::bf16};
  Problem problem(shape);
  PackedMatmul product(shape);
  EXPECT_GE(product.packed_bytes(), 200u * 64 * (bf16_native() ? 2 : 4));
  Array other(DType::bf16, 200 * 64, 77), result = problem.c;
  product.pack(other.bytes.data());
  product.run(problem.a.bytes.data(), result.bytes.data());
  product.pack(problem.b.bytes.data());
  product.run(problem.a.bytes.data(), result.bytes.data());
  problem.compare(result);
}

TEST(Gemm, EachRunReadsItsOwnB) {
  Problem first({.m = 1100, .n = 192, .k = 100, .a = DType::bf16, .b = DType::bf16, .c = DType::bf16});
  Problem second = first;
  second.b = Array(DType::bf16, static_cast<int64_t>(first.b.bytes.size() / 2), 7);
  Matmul product(first.shape);  // several slices of rows: B is packed within each run
  for (const Problem* problem : {&first, &second, &first}) {
    Array result = problem->c;
    product.run(problem->a.bytes.data(), problem->b.bytes.data(), result.bytes.data());
    problem->compare(result);
  }
}

TEST(Gemm, UsesOnlyTheScratchItAskedFor) {
  for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    Problem problem({.m = 1100, .n = 90, .k = 333, .a = dtype, .b = dtype, .c = dtype});
    Matmul product(problem.shape);
    size_t bytes = product.scratch_bytes();
    size_t guarded = (bytes + 4096 + 63) / 64 * 64;
    char* scratch = static_cast<char*>(std::aligned_alloc(64, guarded));
    std::memset(scratch, 0x5a, guarded);
    Array result = problem.c;
    product.run(problem.a.bytes.data(), problem.b.bytes.data(), result.bytes.data(), scratch);
    problem.compare(result);
    for (size_t i = bytes; i < guarded; ++i) ASSERT_EQ(scratch[i], 0x5a) << "byte " << i - bytes << " behind the end";
    std::free(scratch);
  }
}

TEST(Gemm, BytesDoNotDependOnTheNumberOfThreads) {
  const int before = omp_get_max_threads();
  const MatmulShape shapes[] = {
      {.m = 768, .n = 500, .k = 2048, .transpose_a = true},  // a weight's gradient
      {.m = 80, .n = 1536, .k = 2048, .transpose_a = true},
      {.m = 1100, .n = 333, .k = 777},
      {.m = 16, .n = 16, .k = 20000, .transpose_a = true},
      {.m = 48, .n = 640, .k = 4096, .transpose_a = true},
      {.m = 4, .n = 3072, .k = 768, .transpose_b = true},
      {.batch = 3, .m = 64, .n = 100, .k = 900, .batch_stride_a = 57600, .batch_stride_c = 6400},
      {.batch = 9, .m = 64, .n = 100, .k = 900, .batch_stride_a = 57600, .batch_stride_c = 6400},
  };
  for (MatmulShape shape : shapes) {
    for (int types = 0; types < 3; ++types) {
      shape.a = shape.b = types == 0 ? DType::f32 : DType::bf16;
      shape.c = types == 2 ? DType::bf16 : DType::f32;
      Problem problem(shape);
      omp_set_num_threads(1);
      std::vector<char> plain = problem.plain().bytes, packed = problem.packed().bytes;
      for (int threads : {2, 3, 5}) {
        omp_set_num_threads(threads);
        EXPECT_EQ(plain, problem.plain().bytes) << shape.str() << " threads " << threads;
        EXPECT_EQ(packed, problem.packed().bytes) << shape.str() << " packed, threads " << threads;
      }
    }
  }
  omp_set_num_threads(before);
}

TEST(Gemm, TheNumberOfThreadsMayChangeBetweenRuns) {
  const int before = omp_get_max_threads();
  Problem problem({.m = 600, .n = 64, .k = 300, .a = DType::bf16, .b = DType::bf16});
  for (int made_for : {1, 2, 4}) {
    omp_set_num_threads(made_for);
    Matmul product(problem.shape);
    for (int threads : {4, 1, 2}) {
      omp_set_num_threads(threads);
      Array result = problem.c;
      product.run(problem.a.bytes.data(), problem.b.bytes.data(), result.bytes.data());
      problem.compare(result);
    }
  }
  omp_set_num_threads(before);
}

TEST(Gemm, TheLibrarysOwnPartitionAgreesToo) {
  Problem problem({.m = 500, .n = 80, .k = 300, .transpose_b = true, .a = DType::bf16, .b = DType::bf16});
  Array result = problem.c;
  PackedMatmul product(problem.shape, Partition::library);
  product.pack(problem.b.bytes.data());
  product.run(problem.a.bytes.data(), result.bytes.data());
  problem.compare(result);
}

/// Runs a product of every algorithm that there is, into a C of NaN, and returns their names. Rows have no gaps.
template <class Product, class Run>
std::vector<std::string> check_algorithms(const Problem& problem, const Run& run) {
  const int before = omp_get_max_threads();
  const std::vector<std::string> names = Product(problem.shape).algorithms();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
  for (int number = 0; number < static_cast<int>(names.size()); ++number) {
    std::vector<Array> results;
    for (const int threads : {1, 3}) {
      omp_set_num_threads(threads);
      Product product(problem.shape, Partition::fixed, number);
      EXPECT_EQ(product.algorithm(), names[static_cast<size_t>(number)]) << problem.shape.str();
      std::vector<char>& c = results.emplace_back(problem.c).bytes;
      std::fill(c.begin(), c.end() - static_cast<ptrdiff_t>(bytes_of(problem.shape.c)), '\xff');
      run(product, c.data());
    }
    EXPECT_EQ(results[0].bytes, results[1].bytes) << problem.shape.str() << " " << names[static_cast<size_t>(number)];
    problem.compare(results[0]);
  }
  omp_set_num_threads(before);
  return names;
}

std::vector<std::string> check_algorithms(const Problem& problem) {
  return check_algorithms<Matmul>(
      problem, [&](Matmul& product, void* c) { product.run(problem.a.bytes.data(), problem.b.bytes.data(), c); });
}

std::vector<std::string> check_packed_algorithms(const Problem& problem) {
  return check_algorithms<PackedMatmul>(problem, [&](PackedMatmul& product, void* c) {
    product.pack(problem.b.bytes.data());
    product.run(problem.a.bytes.data(), c);
  });
}

/// How many of the names have the text in them.
int count(const std::vector<std::string>& names, const std::string& text) {
  return static_cast<int>(std::ranges::count_if(names, [&](const std::string& name) {
    return name.find(text) != std::string::npos;
  }));
}

TEST(Gemm, EveryAlgorithmAgrees) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (MatmulShape shape : {MatmulShape{.m = 1100, .n = 80, .k = 96, .transpose_b = true},
                              MatmulShape{.m = 300, .n = 333, .k = 70},
                              MatmulShape{.m = 80, .n = 1100, .k = 130, .transpose_a = true},
                              MatmulShape{.m = 5, .n = 6, .k = 7},
                              MatmulShape{.batch = 2, .m = 200, .n = 70, .k = 80, .batch_stride_a = 16000,
                                          .batch_stride_b = 5600, .batch_stride_c = 14000}}) {
      shape.a = shape.b = shape.c = dtype;
      const Problem problem(shape);
      const std::vector<std::string> names = check_algorithms(problem);
      EXPECT_GE(names.size(), std::max(shape.m, shape.n) == 1100 ? 3u : 1u) << shape.str();
      EXPECT_EQ(count(names, "ref:"), 0) << shape.str();
      if (shape.batch > 1) {
        EXPECT_EQ(count(names, " packed,"), 0) << shape.str();
      } else {
        EXPECT_EQ(count(check_packed_algorithms(problem), " plain,"), 0) << shape.str();
      }
    }
}

TEST(Gemm, AlgorithmsDifferInSlicesLayoutsAndImplementations) {
  const MatmulShape shape{.m = 2048, .n = 80, .k = 96};
  const std::vector<std::string> names = Matmul(shape).algorithms();
  for (const char* slices : {", 8 x 1 slices", ", 16 x 1 slices", ", 4 x 1 slices"}) EXPECT_GT(count(names, slices), 0);
  EXPECT_TRUE(names[0].ends_with(", 8 x 1 slices")) << names[0];
  EXPECT_GT(count(names, "gemm:jit"), 0);
  EXPECT_EQ(count(names, " packed,") > 0, names[0].starts_with("brg"));  // the implementation with a layout of its own
  EXPECT_LE(names.size(), 16u);
}

TEST(Gemm, Bf16WithoutInstructionsForItIsConvertedFirst) {
  const MatmulShape shape{.m = 2048, .n = 80, .k = 96, .a = DType::bf16, .b = DType::bf16, .c = DType::bf16};
  const std::vector<std::string> names = Matmul(shape).algorithms();
  EXPECT_EQ(names[0].ends_with("by way of f32"), !bf16_native()) << names[0];
  if (bf16_native()) {
    EXPECT_EQ(count(names, "by way of f32"), 0);
  }
}

TEST(Gemm, NoSuchAlgorithm) {
  const MatmulShape shape{.m = 5, .n = 6, .k = 7};
  const std::vector<std::string> names = Matmul(shape).algorithms();
  try {
    Matmul(shape, Partition::fixed, static_cast<int>(names.size()));
    FAIL() << "expected an exception";
  } catch (const InputError& error) {
    const std::string text = error.what(), number = std::to_string(names.size());
    EXPECT_TRUE(text.starts_with("algorithm=" + number + ": " + gemm_library() + " has " + number + " for ")) << text;
    EXPECT_NE(text.find(": 0: " + names[0]), std::string::npos) << text;
    EXPECT_TRUE(text.ends_with(names.back())) << text;
  }
  EXPECT_TRUE(Matmul({.m = 0, .n = 6, .k = 7}, Partition::fixed, 9).algorithms().empty()) << "nothing to multiply";
}

TEST(Gemm, NamesTheLibrary) {
  EXPECT_EQ(gemm_library().rfind("oneDNN ", 0), 0u);
  const char* limit = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (limit != nullptr && std::string(limit) == "AVX2") {
    EXPECT_FALSE(bf16_native());
  }
}

}  // namespace
}  // namespace mambac
