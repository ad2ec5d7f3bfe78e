#include "runtime/library_calls.h"

#include "runtime/gemm.h"
#include "runtime/library_shapes.h"
#include "runtime/table_call.h"

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

}  // namespace

std::unique_ptr<Call> make_library_call(const LibraryKernel& kernel, std::vector<NodeId>* roots) {
  const auto& [graph, layouts, node, sizes, schedule, constant_parameters] = kernel;
  *roots = library_roots(graph, layouts, node);
  if (graph.node(node).op != Op::Dot)
    return make_table_call(table_lookup(graph, layouts, node, sizes));
  const LibraryProduct call = library_product(graph, layouts, node, sizes);
  if (constant_parameters && call.b_is_parameter) return std::make_unique<PackedMatmulCall>(call, schedule.algorithm);
  return std::make_unique<MatmulCall>(call, schedule.algorithm);
}

}  // namespace mambac
