// The cuBLASLt of fake_cuda.h: does what the reference says of cublasLtMatmul for column-major f32 and bf16 matrices,
// by the plain loops.
#include <bit>
#include <cstring>
#include <map>

#include "runtime/cuda/cublaslt.h"
#include "tests/fake_cuda.h"

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

  size_t place(uint64_t row, uint64_t column, int64_t batch) {
    return static_cast<size_t>(batch * static_cast<int64_t>(attributes[6]) + static_cast<int64_t>(column) * leading) +
           row;
  }
};

namespace {

OpaqueLtHandle the_handle;

uint64_t number_of(const void* value, size_t bytes) {
  uint64_t number = 0;
  std::memcpy(&number, value, bytes);
  return number;
}

float load(const void* data, int type, size_t i) {
  if (type == 0) return static_cast<const float*>(data)[i];
  return std::bit_cast<float>(static_cast<uint32_t>(static_cast<const uint16_t*>(data)[i]) << 16);
}

void store(void* data, int type, size_t i, float value) {
  if (type == 0) {
    static_cast<float*>(data)[i] = value;
  } else {  // exact in the tests: small integers
    static_cast<uint16_t*>(data)[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
  }
}

}  // namespace

extern "C" {

#define MAMBAC_FUNCTION(name, ...)    \
  using Type_of_##name = __VA_ARGS__; \
  Type_of_##name name;
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
                                   int, LtHeuristic* results, int* found) {
  FAKE_MAY_FAIL;
  *found = preference->attributes[1] < 1024 ? 0 : 1;
  *results = {{{42}}, 1024, 0, 1.0F, {}};
  return 0;
}
int cublasLtMatmul(LtHandle, LtMatmul matmul, const void* alpha, const void* a, LtLayout a_layout, const void* b,
                   LtLayout b_layout, const void* beta, const void* c, LtLayout c_layout, void* d, LtLayout d_layout,
                   const LtAlgorithm* algorithm, void* workspace, size_t workspace_bytes, StreamHandle) {
  FAKE_MAY_FAIL;
  const bool transpose_a = matmul->attributes[3] == 1, transpose_b = matmul->attributes[4] == 1;
  const uint64_t m = d_layout->rows, n = d_layout->columns, k = transpose_a ? a_layout->rows : a_layout->columns;
  const bool fits = (transpose_a ? a_layout->columns : a_layout->rows) == m &&
                    (transpose_b ? b_layout->rows : b_layout->columns) == n &&
                    (transpose_b ? b_layout->columns : b_layout->rows) == k;
  if (!fits || algorithm->data[0] != 42 || workspace == nullptr || workspace_bytes != 1024 || matmul->compute != 68 ||
      matmul->scale != 0)
    return 7;
  const void* bias = matmul->attributes[7] == 4 ? reinterpret_cast<const void*>(matmul->attributes[8]) : nullptr;
  const auto batches = d_layout->attributes.count(5) != 0 ? static_cast<int64_t>(d_layout->attributes[5]) : 1;
  for (int64_t batch = 0; batch < batches; ++batch)
    for (uint64_t i = 0; i < m; ++i)
      for (uint64_t j = 0; j < n; ++j) {
        float sum = 0;
        for (uint64_t l = 0; l < k; ++l)
          sum += load(a, a_layout->type, transpose_a ? a_layout->place(l, i, batch) : a_layout->place(i, l, batch)) *
                 load(b, b_layout->type, transpose_b ? b_layout->place(j, l, batch) : b_layout->place(l, j, batch));
        const float scale = *static_cast<const float*>(beta);
        float value = *static_cast<const float*>(alpha) * sum;
        if (scale != 0) value += scale * load(c, c_layout->type, c_layout->place(i, j, batch));
        if (bias != nullptr) value += load(bias, d_layout->type, i);
        store(d, d_layout->type, d_layout->place(i, j, batch), value);
      }
  return 0;
}

}  // extern "C"

}  // namespace mambac::cuda
