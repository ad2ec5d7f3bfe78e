#include "tools/kernel_work.h"

#include <algorithm>
#include <map>
#include <set>

#include "ir/cost.h"
#include "passes/contraction.h"
#include "passes/fuse.h"
#include "passes/plan.h"

namespace mambac::tools {
namespace {

class Counter {
 public:
  Counter(const Graph& fused, const Bindings& sizes)
      : graph_(fused), sizes_(sizes), stored_(values_in_memory(fused)), join_of_(joins_of(fused)) {}

  std::vector<KernelWork> run() {
    std::vector<KernelWork> works(graph_.kernels.size());
    std::vector<std::map<NodeId, double>> read(works.size());  // by owner of the memory: bytes
    for (size_t k = 0; k < works.size(); ++k) {
      works[k].name = graph_.kernels[k].name;
      works[k].library = graph_.kernels[k].kind == KernelGroup::library;
    }
    std::set<std::pair<int, NodeId>> seen;
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      const Node& node = graph_.nodes()[i];
      if (node.kernel < 0 || is_join(node)) continue;
      KernelWork& work = works[static_cast<size_t>(node.kernel)];
      add_arithmetic(work, {i});
      if (stored_[i]) work.bytes_written += bytes({i});
      for (size_t k = 0; k < node.operands.size(); ++k) {
        const NodeId operand = node.operands[k];
        if (!operand.present() || graph_.node(operand).kernel == node.kernel || is_immediate(operand)) continue;
        if (seen.emplace(node.kernel, operand).second)
          read[static_cast<size_t>(node.kernel)][memory_root(graph_, operand, join_of_)] += bytes_read(node, k);
      }
    }
    for (size_t k = 0; k < works.size(); ++k)
      for (const auto& [root, count] : read[k]) works[k].bytes_read += std::min(count, bytes(root));
    return works;
  }

 private:
  double elements(NodeId id) const { return static_cast<double>(elements_of(graph_, graph_.node(id).type, sizes_)); }
  double bytes(NodeId id) const { return elements(id) * static_cast<double>(bytes_of(graph_.node(id).type.dtype)); }
  bool is_immediate(NodeId id) const {
    const Op op = graph_.node(id).op;
    return op == Op::Const || op == Op::Iota || op == Op::Extent;
  }

  /// Of a table only the rows that are looked up.
  double bytes_read(const Node& node, size_t operand) const {
    const double whole = bytes(node.operands[operand]);
    if (node.op != Op::Gather || operand != 0) return whole;
    const double row = whole / static_cast<double>(size_of(graph_, node.attrs.dims[0], sizes_));
    return std::min(whole, row * elements(node.operands[1]));
  }

  void add_arithmetic(KernelWork& work, NodeId id) const {
    const Cost cost = cost_of(graph_, id, sizes_);
    work.exponentials += cost.exponentials;
    if (cost.exponentials == 0) work.flops += cost.flops;
    if (work.library && graph_.node(id).op == Op::Dot) add_product(work, id);
  }

  /// A parameter, or one cast for this product.
  bool is_weight(NodeId id) const {
    const Op op = graph_.node(id).op;
    return op == Op::Param || ((op == Op::Cast || is_view(graph_, id)) && is_weight(graph_.node(id).operands[0]));
  }

  /// A weight comes second, whose layout is the library's; other operands lie as they do in the graph.
  void add_product(KernelWork& work, NodeId id) const {
    const Node& node = graph_.node(id);
    ContractionSize dims = contraction_dims(graph_, id);
    NodeId a = node.operands[0], b = node.operands[1];
    if (is_weight(a) && !is_weight(b)) {
      std::swap(a, b);
      std::swap(dims.rows, dims.columns);
    }
    const auto size = [&](const std::vector<DimId>& list) {
      int64_t n = 1;
      for (DimId d : list) n *= size_of(graph_, d, sizes_);
      return n;
    };
    MatmulShape shape;
    shape.batch = size(dims.batch);
    shape.m = size(dims.rows);
    shape.n = size(dims.columns);
    shape.k = size(dims.contracted);
    const auto ends_in_sum = [&](NodeId operand) {
      const std::vector<DimId>& of = graph_.node(operand).type.dims;
      return std::find(dims.contracted.begin(), dims.contracted.end(), of.back()) != dims.contracted.end();
    };
    shape.transpose_a = !ends_in_sum(a);
    shape.transpose_b = ends_in_sum(b);
    shape.a = graph_.node(a).type.dtype;
    shape.b = graph_.node(b).type.dtype;
    shape.c = node.type.dtype;
    work.product = shape;
    work.weight = is_weight(b);
  }

  const Graph& graph_;
  const Bindings& sizes_;
  std::vector<bool> stored_;
  std::vector<NodeId> join_of_;
};

}  // namespace

std::vector<KernelWork> kernel_work(const Graph& fused, const Bindings& sizes) { return Counter(fused, sizes).run(); }

double parameter_bytes(const Graph& graph, const Bindings& sizes) {
  double bytes = 0;
  for (const Node& node : graph.nodes())
    if (node.op == Op::Param)
      bytes +=
          static_cast<double>(elements_of(graph, node.type, sizes)) * static_cast<double>(bytes_of(node.type.dtype));
  return bytes;
}

}  // namespace mambac::tools
