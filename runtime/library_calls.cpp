#include "runtime/library_calls.h"

#include <algorithm>
#include <cstring>

#include "passes/contraction.h"

namespace mambac {

namespace {

/// A value seen as a strided array: the stride in elements of each of its dims, and where it starts.
struct Strided {
  NodeId root;
  DType dtype;
  int64_t offset = 0;
  std::map<DimId, int64_t> stride;
};

Strided strided(const Graph& graph, const Layouts& layouts, NodeId value, const Bindings& bindings) {
  const MemoryPlace place = place_of(graph, layouts, value);
  Strided s{place.root, graph.node(place.root).type.dtype, 0, {}};
  int64_t stride = 1;
  for (auto index = place.indices.rbegin(); index != place.indices.rend(); ++index) {
    const int64_t size = size_of(graph, index->root_dim, bindings);
    s.offset += (index->offset >= 0 || index->from != DimId{} ? index->offset : size + index->offset) * stride;
    if (index->from != DimId{}) s.stride[index->from] = stride;
    stride *= size;
  }
  return s;
}

int64_t product(const Graph& graph, const std::vector<DimId>& dims, const Bindings& bindings) {
  int64_t n = 1;
  for (DimId d : dims) n *= size_of(graph, d, bindings);
  return n;
}

/// The one stride of a group of dims (passes/fuse_prepare.h makes sure that there is one); 0 when all have size 1.
int64_t group_stride(const Graph& graph, const Strided& s, const std::vector<DimId>& dims, const Bindings& bindings) {
  int64_t stride = 0;
  for (DimId d : dims)
    if (size_of(graph, d, bindings) > 1 && (stride == 0 || s.stride.at(d) < stride)) stride = s.stride.at(d);
  return stride;
}

struct Pointer {
  int64_t bytes = 0;  // from the root's memory
  const void* in(const void* base) const { return static_cast<const char*>(base) + bytes; }
  void* in(void* base) const { return static_cast<char*>(base) + bytes; }
};

Pointer pointer_of(const Strided& s) { return {s.offset * static_cast<int64_t>(bytes_of(s.dtype))}; }

class MatmulCall : public LibraryCall {
 public:
  MatmulCall(const MatmulShape& shape, Pointer a, Pointer b, Pointer c, bool swapped)
      : matmul_(shape), a_(a), b_(b), c_(c), swapped_(swapped) {}

  void run(void* const* p, void* scratch) override {
    const void* a = a_.in(static_cast<const void*>(p[swapped_ ? 1 : 0]));
    const void* b = b_.in(static_cast<const void*>(p[swapped_ ? 0 : 1]));
    matmul_.run(a, b, c_.in(p[2]), scratch);
  }
  size_t scratch_bytes() const override { return matmul_.scratch_bytes(); }

 private:
  Matmul matmul_;
  Pointer a_, b_, c_;
  bool swapped_;
};

std::unique_ptr<LibraryCall> make_matmul(const Graph& graph, const Layouts& layouts, NodeId id,
                                         const Bindings& bindings) {
  const Node& node = graph.node(id);
  ContractionSize dims = contraction_dims(graph, id);
  Strided x = strided(graph, layouts, node.operands[0], bindings), y = strided(graph, layouts, node.operands[1], bindings);
  const Strided z = strided(graph, layouts, id, bindings);
  // Columns of the result are neighbours in memory.
  const int64_t column_stride = group_stride(graph, z, dims.columns, bindings);
  const bool swapped = column_stride != 1 && column_stride != 0 && group_stride(graph, z, dims.rows, bindings) == 1;
  if (swapped) {
    std::swap(x, y);
    std::swap(dims.rows, dims.columns);
  }
  MatmulShape shape;
  shape.m = product(graph, dims.rows, bindings);
  shape.n = product(graph, dims.columns, bindings);
  shape.k = product(graph, dims.contracted, bindings);
  shape.a = x.dtype;
  shape.b = y.dtype;
  shape.c = z.dtype;
  const int64_t x_row = group_stride(graph, x, dims.rows, bindings), x_k = group_stride(graph, x, dims.contracted, bindings);
  const int64_t y_col = group_stride(graph, y, dims.columns, bindings), y_k = group_stride(graph, y, dims.contracted, bindings);
  shape.transpose_a = x_k != 1 && x_row == 1 && shape.k > 1;
  shape.lda = std::max(shape.transpose_a ? x_k : x_row, shape.transpose_a ? shape.m : shape.k);
  shape.transpose_b = !(y_col == 1 || (shape.n == 1 && y_k != 1)) && (y_k == 1 || shape.k == 1);
  shape.ldb = std::max(shape.transpose_b ? y_col : y_k, shape.transpose_b ? shape.k : shape.n);
  shape.ldc = std::max(group_stride(graph, z, dims.rows, bindings), shape.n);
  auto unit = [](int64_t stride) { return stride == 0 || stride == 1; };
  check((unit(x_k) || unit(x_row)) && (unit(y_k) || unit(y_col)), "a matrix product needs one dense side per operand");
  return std::make_unique<MatmulCall>(shape, pointer_of(x), pointer_of(y), pointer_of(z), swapped);
}

int64_t index_at(const void* indices, DType dtype, int64_t i) {
  return dtype == DType::u8 ? static_cast<const uint8_t*>(indices)[i] : static_cast<const int32_t*>(indices)[i];
}

float widened(const void* values, DType dtype, int64_t i) {
  if (dtype == DType::f32) return static_cast<const float*>(values)[i];
  check(dtype == DType::bf16, "a table has f32 or bf16 values");
  const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(values)[i]) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// Rows of a table by index. An index out of range gives NaNs, which training and generation report.
class GatherCall : public LibraryCall {
 public:
  GatherCall(int64_t positions, int64_t rows, int64_t row_bytes, DType index, Pointer table, Pointer indices, Pointer out)
      : positions_(positions), rows_(rows), row_bytes_(row_bytes), index_(index), table_(table), indices_(indices),
        out_(out) {}

  void run(void* const* p, void*) override {
    const char* table = static_cast<const char*>(table_.in(static_cast<const void*>(p[0])));
    const void* indices = indices_.in(static_cast<const void*>(p[1]));
    char* out = static_cast<char*>(out_.in(p[2]));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < positions_; ++i) {
      const int64_t row = index_at(indices, index_, i);
      if (row < 0 || row >= rows_)
        std::memset(out + i * row_bytes_, 0xff, static_cast<size_t>(row_bytes_));
      else
        std::memcpy(out + i * row_bytes_, table + row * row_bytes_, static_cast<size_t>(row_bytes_));
    }
  }

 private:
  int64_t positions_, rows_, row_bytes_;
  DType index_;
  Pointer table_, indices_, out_;
};

/// Sums of rows by index, in the order of the positions: threads share the columns.
class ScatterCall : public LibraryCall {
 public:
  ScatterCall(int64_t positions, int64_t rows, int64_t columns, DType index, DType value, Pointer indices, Pointer values,
              Pointer out)
      : positions_(positions), rows_(rows), columns_(columns), index_(index), value_(value), indices_(indices),
        values_(values), out_(out) {}

  void run(void* const* p, void*) override {
    const void* indices = indices_.in(static_cast<const void*>(p[0]));
    const void* values = values_.in(static_cast<const void*>(p[1]));
    float* out = static_cast<float*>(out_.in(p[2]));
    constexpr int64_t kColumns = 64;
#pragma omp parallel for schedule(static)
    for (int64_t c0 = 0; c0 < columns_; c0 += kColumns) {
      const int64_t end = std::min(columns_, c0 + kColumns);
      for (int64_t r = 0; r < rows_; ++r) std::fill(out + r * columns_ + c0, out + r * columns_ + end, 0.0f);
      for (int64_t i = 0; i < positions_; ++i) {
        const int64_t row = index_at(indices, index_, i);
        if (row < 0 || row >= rows_) continue;
        for (int64_t c = c0; c < end; ++c) out[row * columns_ + c] += widened(values, value_, i * columns_ + c);
      }
    }
  }

 private:
  int64_t positions_, rows_, columns_;
  DType index_, value_;
  Pointer indices_, values_, out_;
};

}  // namespace

std::unique_ptr<LibraryCall> make_library_call(const Graph& graph, const Layouts& layouts, NodeId id,
                                               const Bindings& bindings, std::vector<NodeId>* roots) {
  const Node& node = graph.node(id);
  roots->clear();
  for (NodeId o : node.operands) roots->push_back(place_of(graph, layouts, o).root);
  roots->push_back(place_of(graph, layouts, id).root);
  if (node.op == Op::Dot) return make_matmul(graph, layouts, id, bindings);
  const Strided x = strided(graph, layouts, node.operands[0], bindings), y = strided(graph, layouts, node.operands[1], bindings);
  const Strided z = strided(graph, layouts, id, bindings);
  const DimId table_dim = node.attrs.dims[0];
  const int64_t rows = size_of(graph, table_dim, bindings);
  if (node.op == Op::Gather) {
    const int64_t positions = elements_of(graph, graph.node(node.operands[1]).type, bindings);
    const int64_t columns = elements_of(graph, graph.node(node.operands[0]).type, bindings) / rows;
    return std::make_unique<GatherCall>(positions, rows, columns * static_cast<int64_t>(bytes_of(x.dtype)), y.dtype,
                                        pointer_of(x), pointer_of(y), pointer_of(z));
  }
  check(node.op == Op::Scatter, "unknown library call");
  const int64_t positions = elements_of(graph, graph.node(node.operands[0]).type, bindings);
  const int64_t columns = elements_of(graph, node.type, bindings) / rows;
  return std::make_unique<ScatterCall>(positions, rows, columns, x.dtype, y.dtype, pointer_of(x), pointer_of(y),
                                       pointer_of(z));
}

}  // namespace mambac
