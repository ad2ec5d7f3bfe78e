#include "runtime/library_calls.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "passes/contraction.h"
#include "runtime/gemm.h"

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

/// Where the operands of a product lie. `swapped`: A is the node's second operand.
struct Operands {
  Pointer a, b, c;
  bool swapped;

  const void* first(void* const* p) const { return a.in(static_cast<const void*>(p[swapped ? 1 : 0])); }
  const void* second(void* const* p) const { return b.in(static_cast<const void*>(p[swapped ? 0 : 1])); }
  void* result(void* const* p) const { return c.in(p[2]); }
};

class MatmulCall : public Call {
 public:
  MatmulCall(const MatmulShape& shape, const Operands& operands) : matmul_(shape), operands_(operands) {}

  void run(void* const* p, void* scratch) override {
    matmul_.run(operands_.first(p), operands_.second(p), operands_.result(p), scratch);
  }
  size_t scratch_bytes() const override { return matmul_.scratch_bytes(); }

 private:
  Matmul matmul_;
  Operands operands_;
};

class PackedMatmulCall : public Call {
 public:
  PackedMatmulCall(const MatmulShape& shape, const Operands& operands) : matmul_(shape), operands_(operands) {}

  void run(void* const* p, void* scratch) override {
    if (!packed_) matmul_.pack(operands_.second(p));
    packed_ = true;
    matmul_.run(operands_.first(p), operands_.result(p), scratch);
  }
  size_t scratch_bytes() const override { return matmul_.scratch_bytes(); }
  size_t kept_bytes() const override { return matmul_.packed_bytes(); }
  void forget() override { packed_ = false; }

 private:
  PackedMatmul matmul_;
  Operands operands_;
  bool packed_ = false;
};

std::unique_ptr<Call> make_matmul(const Graph& graph, const Layouts& layouts, NodeId id,
                                         const Bindings& bindings, bool constant_parameters) {
  const Node& node = graph.node(id);
  ContractionSize dims = contraction_dims(graph, id);
  Strided x = strided(graph, layouts, node.operands[0], bindings);
  Strided y = strided(graph, layouts, node.operands[1], bindings);
  const Strided z = strided(graph, layouts, id, bindings);
  // Columns of the result are neighbours in memory.
  const int64_t column_stride = group_stride(graph, z, dims.columns, bindings);
  const int64_t row_stride = group_stride(graph, z, dims.rows, bindings);
  const bool swapped = column_stride > 1 && row_stride <= 1;
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
  const int64_t x_row = group_stride(graph, x, dims.rows, bindings);
  const int64_t x_k = group_stride(graph, x, dims.contracted, bindings);
  const int64_t y_col = group_stride(graph, y, dims.columns, bindings);
  const int64_t y_k = group_stride(graph, y, dims.contracted, bindings);
  shape.transpose_a = x_k > 1 && x_row <= 1;
  shape.lda = std::max(shape.transpose_a ? x_k : x_row, shape.transpose_a ? shape.m : shape.k);
  shape.transpose_b = !(y_col == 1 || (shape.n == 1 && y_k != 1)) && (y_k == 1 || shape.k == 1);
  shape.ldb = std::max(shape.transpose_b ? y_col : y_k, shape.transpose_b ? shape.k : shape.n);
  shape.ldc = std::max(group_stride(graph, z, dims.rows, bindings), shape.n);
  auto unit = [](int64_t stride) { return stride == 0 || stride == 1; };
  check((unit(x_k) || unit(x_row)) && (unit(y_k) || unit(y_col)), "a matrix product needs one dense side per operand");
  const Operands operands{pointer_of(x), pointer_of(y), pointer_of(z), swapped};
  if (constant_parameters && graph.node(y.root).op == Op::Param)
    return std::make_unique<PackedMatmulCall>(shape, operands);
  return std::make_unique<MatmulCall>(shape, operands);
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

/// One loop of a table routine, with the strides of the values, the index and the table along it.
struct TableLoop {
  int64_t size, values, index, table;
};

/// gather and scatter: `values` are what is read from or added to the table's rows.
class TableCall : public Call {
 public:
  struct Side {
    Pointer pointer;
    DType dtype;
  };

  TableCall(bool gather, std::vector<TableLoop> loops, int64_t rows, int64_t row_stride, int64_t table_elements,
            Side values, Side index, Side table)
      : gather_(gather),
        loops_(std::move(loops)),
        rows_(rows),
        row_stride_(row_stride),
        table_elements_(table_elements),
        values_(values),
        index_(index),
        table_(table) {
    if (loops_.empty()) loops_.push_back({1, 0, 0, 0});
  }

  void run(void* const* p, void*) override {
    if (gather_) {
      table_at_ = table_.pointer.in(p[0]);
      index_at_ = index_.pointer.in(p[1]);
      values_at_ = values_.pointer.in(p[2]);
    } else {
      index_at_ = index_.pointer.in(p[0]);
      values_at_ = values_.pointer.in(p[1]);
      table_at_ = table_.pointer.in(p[2]);
      std::memset(table_at_, 0, static_cast<size_t>(table_elements_) * 4);
    }
    // Threads share the innermost loop when the index does not vary along it, so that sums keep their order.
    const TableLoop& inner = loops_.back();
    const int64_t parts = inner.index == 0 ? std::max<int64_t>(1, std::min<int64_t>(8, inner.size / 64)) : 1;
#pragma omp parallel for schedule(static)
    for (int64_t part = 0; part < parts; ++part)
      walk(0, {0, 0, 0}, inner.size * part / parts, inner.size * (part + 1) / parts);
  }

 private:
  struct At {
    int64_t values, index, table;
  };

  void walk(size_t depth, At at, int64_t begin, int64_t end) const {
    const TableLoop& loop = loops_[depth];
    const bool last = depth + 1 == loops_.size();
    for (int64_t i = last ? begin : 0; i < (last ? end : loop.size); ++i) {
      const At here{at.values + i * loop.values, at.index + i * loop.index, at.table + i * loop.table};
      if (last)
        one(here);
      else
        walk(depth + 1, here, begin, end);
    }
  }

  /// An index out of range reads NaN, which training and generation report, and adds nothing.
  void one(At at) const {
    const int64_t row = index_at(index_at_, index_.dtype, at.index);
    const bool inside = row >= 0 && row < rows_;
    const int64_t place = at.table + row * row_stride_;
    if (!gather_) {
      if (inside) static_cast<float*>(table_at_)[place] += widened(values_at_, values_.dtype, at.values);
    } else if (values_.dtype == DType::f32) {
      static_cast<float*>(values_at_)[at.values] = inside ? widened(table_at_, table_.dtype, place) : NAN;
    } else {
      static_cast<uint16_t*>(values_at_)[at.values] =
          inside ? static_cast<const uint16_t*>(table_at_)[place] : static_cast<uint16_t>(0x7fc0);
    }
  }

  bool gather_;
  std::vector<TableLoop> loops_;
  int64_t rows_, row_stride_, table_elements_;
  Side values_, index_, table_;
  void *table_at_ = nullptr, *values_at_ = nullptr, *index_at_ = nullptr;
};

int64_t stride_along(const Strided& s, DimId d) {
  auto found = s.stride.find(d);
  return found == s.stride.end() ? 0 : found->second;
}

std::unique_ptr<Call> make_table_call(const Graph& graph, const Layouts& layouts, NodeId id,
                                             const Bindings& bindings) {
  const Node& node = graph.node(id);
  const bool gather = node.op == Op::Gather;
  const NodeId table_id = gather ? node.operands[0] : id, index_id = node.operands[gather ? 1 : 0];
  const NodeId values_id = gather ? id : node.operands[1];
  const Strided table = strided(graph, layouts, table_id, bindings);
  const Strided index = strided(graph, layouts, index_id, bindings);
  const Strided values = strided(graph, layouts, values_id, bindings);
  std::vector<TableLoop> loops;
  for (DimId d : graph.node(index_id).type.dims)  // values without a dimension of the index count once for each of it
    if (!graph.node(values_id).type.has(d))
      loops.push_back({size_of(graph, d, bindings), 0, stride_along(index, d), 0});
  for (DimId d : graph.node(values_id).type.dims)
    loops.push_back({size_of(graph, d, bindings), stride_along(values, d), stride_along(index, d),
                     d == node.attrs.dims[0] ? 0 : stride_along(table, d)});
  const DimId rows = node.attrs.dims[0];
  return std::make_unique<TableCall>(gather, std::move(loops), size_of(graph, rows, bindings), table.stride.at(rows),
                                     elements_of(graph, graph.node(table_id).type, bindings),
                                     TableCall::Side{pointer_of(values), values.dtype},
                                     TableCall::Side{pointer_of(index), index.dtype},
                                     TableCall::Side{pointer_of(table), table.dtype});
}

}  // namespace

std::unique_ptr<Call> make_library_call(const Graph& graph, const Layouts& layouts, NodeId id,
                                               const Bindings& bindings, bool constant_parameters,
                                               std::vector<NodeId>* roots) {
  const Node& node = graph.node(id);
  roots->clear();
  for (NodeId o : node.operands) roots->push_back(place_of(graph, layouts, o).root);
  roots->push_back(place_of(graph, layouts, id).root);
  if (node.op == Op::Dot) return make_matmul(graph, layouts, id, bindings, constant_parameters);
  check(node.op == Op::Gather || node.op == Op::Scatter, "unknown library call");
  return make_table_call(graph, layouts, id, bindings);
}

}  // namespace mambac
