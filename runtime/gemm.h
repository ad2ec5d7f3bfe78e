// Large matrix products, by oneDNN. gemm.cpp is the one file that knows the library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ir/error.h"
#include "ir/type.h"

namespace mambac {

/// C[m, n] (+)= op(A)[m, k] op(B)[k, n], `batch` times, accumulated in f32. All matrices are row-major: A is stored as
/// [m, k], or as [k, m] when transpose_a; B as [k, n], or as [n, k] when transpose_b; C as [m, n].
struct MatmulShape {
  int64_t batch = 1, m = 0, n = 0, k = 0;
  int64_t lda = 0, ldb = 0, ldc = 0;  // elements from one stored row to the next; 0: rows without gaps
  int64_t batch_stride_a = 0, batch_stride_b = 0, batch_stride_c = 0;  // elements; 0: the same matrix every time
  bool transpose_a = false, transpose_b = false;
  DType a = DType::f32, b = DType::f32, c = DType::f32;
  bool accumulate = false;  // add to what C holds

  std::string str() const;
};

/// Who divides the work among threads. `fixed`: slices that depend on the shape alone, each computed by one thread, so
/// that the bytes of the result do not depend on the number of threads. `library`: the library's own way, which may
/// sum over k in an order that depends on the number of threads; it is what measurements compare with.
enum class Partition { fixed, library };

/// A product whose operands may both change from run to run. Made for the number of threads at its construction; it
/// never uses more. Not to be run by two threads at once.
///
/// There may be several algorithms, of which number 0 is the first choice: they differ in the library's implementation
/// that computes slices, in whether these read a copy of B in the layout that the implementation prefers or B as it
/// lies, in how large slices are, and in whether bf16 is converted to f32 first. Which there are is for the library, the
/// processor and the shape to say.
class Matmul {
 public:
  /// InputError when there is no such algorithm.
  explicit Matmul(const MatmulShape& shape, Partition partition = Partition::fixed, int algorithm = 0);
  Matmul(Matmul&&) noexcept;
  Matmul& operator=(Matmul&&) noexcept;
  ~Matmul();

  /// Short names of all algorithms, by number, and that of the one that runs take: "gemm:jit plain, 8 x 1 slices".
  std::vector<std::string> algorithms() const;
  std::string algorithm() const;
  /// Bytes that a run needs for itself. They hold nothing between runs: all products of a program can share them.
  size_t scratch_bytes() const;
  /// `scratch` points to scratch_bytes() bytes, aligned to 64; when null, the product keeps a buffer of its own.
  void run(const void* a, const void* b, void* c, void* scratch = nullptr);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A product whose B (a weight, the same for all of the batch) is brought into the library's preferred layout once,
/// and again whenever it changes.
class PackedMatmul {
 public:
  explicit PackedMatmul(const MatmulShape& shape, Partition partition = Partition::fixed, int algorithm = 0);
  PackedMatmul(PackedMatmul&&) noexcept;
  PackedMatmul& operator=(PackedMatmul&&) noexcept;
  ~PackedMatmul();

  std::vector<std::string> algorithms() const;  // as Matmul's
  std::string algorithm() const;
  size_t packed_bytes() const;   // what the packed B takes, held by this object
  size_t scratch_bytes() const;  // as Matmul's
  /// Copies B; it is not looked at again afterwards.
  void pack(const void* b);
  void run(const void* a, void* c, void* scratch = nullptr);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// That none of the algorithms that a library has for a product has this number.
InputError no_such_algorithm(int number, const std::string& library, const MatmulShape& shape,
                             const std::vector<std::string>& algorithms);

/// Whether this CPU has instructions that multiply bf16, and the library uses them. Where not, and for f16 and mixed
/// operands everywhere, operands are converted to f32 first: the same answers, more scratch.
bool bf16_native();

/// "oneDNN 2.6.3"
std::string gemm_library();

}  // namespace mambac
