// The cuBLASLt of fake_cuda.h: does what the reference says of cublasLtMatmul for column-major matrices, by the plain
// loops.
#include <cstring>
#include <map>
#include <vector>

#include "runtime/cuda/cublaslt.h"
#include "runtime/element_type.h"
#include "tests/fake_cuda.h"
#include "tests/fake_cuda_work.h"

namespace mambac::cuda {

struct OpaqueLtHandle {};
struct OpaqueLtPreference {
  std::map<int, uint64_t> attributes;
};
struct OpaqueLtMatmul {
  int compute = 0, scale = 0;
  std::map<int, uint64_t> attributes;
};
struct OpaqueLtLayout {
  int type;
  uint64_t rows, columns;
  int64_t leading;
  std::map<int, uint64_t> attributes;
};

namespace {

constexpr int kInvalidValue = 7, kExecutionFailed = 13, kNotSupported = 15;  // cublasStatus_t
constexpr uint64_t kFirstAlgorithm = 42, kAlgorithms = 5, kRefused = 43;

/// Each needs another workspace, and leaves its number there in every byte.
size_t workspace_of(uint64_t algorithm) { return 1024 * (algorithm - kFirstAlgorithm + 1); }

OpaqueLtHandle the_handle;

uint64_t number_of(const void* value, size_t bytes) {
  uint64_t number = 0;
  std::memcpy(&number, value, bytes);
  return number;
}

ElementType element_type(int type) {  // of cudaDataType_t
  return type == 0 ? ElementType::f32 : type == 2 ? ElementType::f16 : ElementType::bf16;
}

/// A matrix of one batch on the device.
struct Matrix {
  Matrix(const void* address_, const OpaqueLtLayout& layout)
      : address(reinterpret_cast<DevicePointer>(address_)),
        type(element_type(layout.type)),
        bytes(layout.type == 0 ? 4 : 2),
        rows(layout.rows),
        columns(layout.columns),
        leading(static_cast<size_t>(layout.leading)) {
    if (const auto found = layout.attributes.find(5); found != layout.attributes.end()) batches = found->second;
    if (const auto found = layout.attributes.find(6); found != layout.attributes.end()) stride = found->second;
  }

  char* column(size_t batch, size_t number) const {
    return static_cast<char*>(fake::memory_at(address + (batch * stride + number * leading) * bytes, rows * bytes));
  }
  /// Column by column, without gaps; `turned`: row by row.
  std::vector<float> load(size_t batch, bool turned) const {
    std::vector<float> all(rows * columns), one(rows);
    for (size_t c = 0; c < columns; ++c) {
      to_f32(type, column(batch, c), static_cast<int64_t>(rows), one.data());
      for (size_t r = 0; r < rows; ++r) all[turned ? r * columns + c : c * rows + r] = one[r];
    }
    return all;
  }

  DevicePointer address;
  ElementType type;
  size_t bytes, rows, columns, leading, batches = 1, stride = 0;
};

/// D = alpha A B + beta C + bias, all as they are when the work is done.
struct Product {
  bool transpose_a, transpose_b;
  Matrix a, b, c, d;
  float alpha, beta;
  DevicePointer bias;  // 0: none

  size_t terms() const { return transpose_a ? a.rows : a.columns; }
  bool fits() const {
    return (transpose_a ? a.columns : a.rows) == d.rows && (transpose_b ? b.rows : b.columns) == d.columns &&
           (transpose_b ? b.columns : b.rows) == terms() && c.rows == d.rows && c.columns == d.columns;
  }

  void run(size_t batch) const {
    const std::vector<float> rows = a.load(batch, !transpose_a), columns = b.load(batch, transpose_b);
    std::vector<float> added(d.rows), result(d.rows);
    if (bias != 0) to_f32(d.type, fake::memory_at(bias, d.rows * d.bytes), static_cast<int64_t>(d.rows), added.data());
    for (size_t j = 0; j < d.columns; ++j) {
      if (beta != 0) to_f32(c.type, c.column(batch, j), static_cast<int64_t>(d.rows), result.data());
      for (size_t i = 0; i < d.rows; ++i) {
        float sum = 0;
        for (size_t l = 0; l < terms(); ++l) sum += rows[i * terms() + l] * columns[j * terms() + l];
        result[i] = alpha * sum + (beta != 0 ? beta * result[i] : 0) + added[i];
      }
      from_f32(result.data(), static_cast<int64_t>(d.rows), d.type, d.column(batch, j));
    }
  }
};

}  // namespace

extern "C" {

#define MAMBAC_FUNCTION FAKE_DECLARED
#include "runtime/cuda/cublaslt_functions.def"
#undef MAMBAC_FUNCTION

size_t cublasLtGetVersion() {
  return 130100;
}
const char* cublasLtGetStatusString(int) {
  return "CUBLAS_STATUS_AS_TOLD";
}
int cublasLtCreate(LtHandle* handle) {
  FAKE_MAY_FAIL;
  *handle = &the_handle;
  return 0;
}
int cublasLtDestroy(LtHandle) {
  return 0;
}
int cublasLtMatmulDescCreate(LtMatmul* matmul, int compute_type, int scale_type) {
  *matmul = new OpaqueLtMatmul{compute_type, scale_type, {}};
  return 0;
}
int cublasLtMatmulDescDestroy(LtMatmul matmul) {
  delete matmul;
  return 0;
}
int cublasLtMatmulDescSetAttribute(LtMatmul matmul, int attribute, const void* value, size_t bytes) {
  matmul->attributes[attribute] = number_of(value, bytes);
  return 0;
}
int cublasLtMatrixLayoutCreate(LtLayout* layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
  *layout = new OpaqueLtLayout{type, rows, columns, leading, {}};
  return 0;
}
int cublasLtMatrixLayoutDestroy(LtLayout layout) {
  delete layout;
  return 0;
}
int cublasLtMatrixLayoutSetAttribute(LtLayout layout, int attribute, const void* value, size_t bytes) {
  layout->attributes[attribute] = number_of(value, bytes);
  return 0;
}
int cublasLtMatmulPreferenceCreate(LtPreference* preference) {
  *preference = new OpaqueLtPreference;
  return 0;
}
int cublasLtMatmulPreferenceDestroy(LtPreference preference) {
  delete preference;
  return 0;
}
int cublasLtMatmulPreferenceSetAttribute(LtPreference preference, int attribute, const void* value, size_t bytes) {
  preference->attributes[attribute] = number_of(value, bytes);
  return 0;
}
int cublasLtMatmulAlgoGetHeuristic(LtHandle, LtMatmul, LtLayout, LtLayout, LtLayout, LtLayout, LtPreference preference,
                                   int most, LtHeuristic* results, int* found) {
  FAKE_MAY_FAIL;
  auto& wanted = preference->attributes;
  *found = 0;
  for (uint64_t algorithm = kFirstAlgorithm; algorithm < kFirstAlgorithm + kAlgorithms; ++algorithm)
    if (*found < most && workspace_of(algorithm) <= wanted[1])
      results[(*found)++] = {{{algorithm, wanted[5], wanted[6], wanted[7], wanted[8]}},
                             workspace_of(algorithm),
                             algorithm == kRefused ? kNotSupported : 0,
                             1.0F,
                             {}};
  return 0;
}
int cublasLtMatmul(LtHandle, LtMatmul matmul, const void* alpha, const void* a, LtLayout a_layout, const void* b,
                   LtLayout b_layout, const void* beta, const void* c, LtLayout c_layout, void* d, LtLayout d_layout,
                   const LtAlgorithm* algorithm, void* workspace, size_t workspace_bytes, StreamHandle stream) {
  FAKE_MAY_FAIL;
  const uint64_t number = algorithm->data[0];
  if (number < kFirstAlgorithm || number >= kFirstAlgorithm + kAlgorithms || number == kRefused ||
      workspace_bytes != workspace_of(number) || matmul->compute != 68 || matmul->scale != 0)
    return kInvalidValue;
  const void* addresses[] = {a, b, c, d};
  for (size_t i = 0; i < 4; ++i)
    if (reinterpret_cast<DevicePointer>(addresses[i]) % algorithm->data[i + 1] != 0) return kNotSupported;
  if (reinterpret_cast<DevicePointer>(workspace) % 256 != 0) return kInvalidValue;
  auto& attributes = matmul->attributes;
  const Product product{attributes[3] == 1,
                        attributes[4] == 1,
                        {a, *a_layout},
                        {b, *b_layout},
                        {c, *c_layout},
                        {d, *d_layout},
                        *static_cast<const float*>(alpha),
                        *static_cast<const float*>(beta),
                        attributes[7] == 4 ? attributes[8] : 0};
  if (!product.fits()) return kInvalidValue;
  const auto used = reinterpret_cast<DevicePointer>(workspace);
  const Status status = fake::put(stream, [product, used, number] {
    std::memset(fake::memory_at(used, workspace_of(number)), static_cast<int>(number), workspace_of(number));
    for (size_t batch = 0; batch < product.d.batches; ++batch) product.run(batch);
  });
  return status == 0 ? 0 : kExecutionFailed;
}

}  // extern "C"

}  // namespace mambac::cuda
