#include "runtime/library_calls.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/gemm.h"
#include "runtime/library_shapes.h"

namespace mambac {

namespace {

class MatmulCall : public Call {
 public:
  MatmulCall(const LibraryProduct& call, int algorithm)
      : matmul_(call.shape, Partition::fixed, algorithm), call_(call) {}

  void run(void* const* p, void* scratch) override {
    matmul_.run(call_.a.in(p), call_.b.in(p), call_.c.out(p), scratch);
  }
  size_t scratch_bytes() const override { return matmul_.scratch_bytes(); }
  std::vector<std::string> algorithms() const override { return matmul_.algorithms(); }
  std::string algorithm() const override { return matmul_.algorithm(); }

 private:
  Matmul matmul_;
  LibraryProduct call_;
};

class PackedMatmulCall : public Call {
 public:
  PackedMatmulCall(const LibraryProduct& call, int algorithm)
      : matmul_(call.shape, Partition::fixed, algorithm), call_(call) {}

  void run(void* const* p, void* scratch) override {
    if (!packed_) matmul_.pack(call_.b.in(p));
    packed_ = true;
    matmul_.run(call_.a.in(p), call_.c.out(p), scratch);
  }
  size_t scratch_bytes() const override { return matmul_.scratch_bytes(); }
  size_t kept_bytes() const override { return matmul_.packed_bytes(); }
  void forget() override { packed_ = false; }
  std::vector<std::string> algorithms() const override { return matmul_.algorithms(); }
  std::string algorithm() const override { return matmul_.algorithm(); }

 private:
  PackedMatmul matmul_;
  LibraryProduct call_;
  bool packed_ = false;
};

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

/// `values` are what is read from or added to the table's rows.
class CpuTableCall : public Call {
 public:
  explicit CpuTableCall(TableLookup call) : call_(std::move(call)) {
    if (call_.loops.empty()) call_.loops.push_back({});
  }

  void run(void* const* p, void*) override {
    index_at_ = call_.index.in(p);
    values_at_ = call_.values.out(p);
    table_at_ = call_.table.out(p);
    if (!call_.gather) std::memset(table_at_, 0, static_cast<size_t>(call_.table_elements) * 4);
    // Threads share the innermost loop when the index does not vary along it, so that sums keep their order.
    const TableLoop& inner = call_.loops.back();
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
    const TableLoop& loop = call_.loops[depth];
    const bool last = depth + 1 == call_.loops.size();
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
    const int64_t row = index_at(index_at_, call_.index.dtype, at.index);
    const bool inside = row >= 0 && row < call_.rows;
    const int64_t place = at.table + row * call_.row_stride;
    if (!call_.gather) {
      if (inside) static_cast<float*>(table_at_)[place] += widened(values_at_, call_.values.dtype, at.values);
    } else if (call_.values.dtype == DType::f32) {
      static_cast<float*>(values_at_)[at.values] = inside ? widened(table_at_, call_.table.dtype, place) : NAN;
    } else {
      static_cast<uint16_t*>(values_at_)[at.values] =
          inside ? static_cast<const uint16_t*>(table_at_)[place] : static_cast<uint16_t>(0x7fc0);
    }
  }

  TableLookup call_;
  void *table_at_ = nullptr, *values_at_ = nullptr;
  const void* index_at_ = nullptr;
};

}  // namespace

std::unique_ptr<Call> make_library_call(const LibraryKernel& kernel, std::vector<NodeId>* roots) {
  const auto& [graph, layouts, node, sizes, schedule, constant_parameters] = kernel;
  *roots = library_roots(graph, layouts, node);
  if (graph.node(node).op != Op::Dot)
    return std::make_unique<CpuTableCall>(table_lookup(graph, layouts, node, sizes));
  const LibraryProduct call = library_product(graph, layouts, node, sizes);
  if (constant_parameters && call.b_is_parameter) return std::make_unique<PackedMatmulCall>(call, schedule.algorithm);
  return std::make_unique<MatmulCall>(call, schedule.algorithm);
}

}  // namespace mambac
