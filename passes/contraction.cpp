#include "passes/contraction.h"

#include <algorithm>

namespace mambac {

namespace {

constexpr int64_t kSmallContraction = 256;
constexpr int64_t kSmallRatio = 28;  // dt of Mamba has 32; its x projection, of up to 26, is a matrix product

int64_t static_size(const Graph& graph, const std::vector<DimId>& dims) {
  int64_t size = 1;
  for (DimId d : dims)
    if (!graph.dim(d).is_free()) size *= graph.dim(d).size;
  return size;
}

bool all_free(const Graph& graph, const std::vector<DimId>& dims) {
  return std::all_of(dims.begin(), dims.end(), [&](DimId d) { return graph.dim(d).is_free(); });
}

/// Free dims first, in the order of their declaration.
bool is_type_order(const Graph& graph, const std::vector<DimId>& dims) {
  for (size_t i = 0; i + 1 < dims.size(); ++i) {
    if (!graph.dim(dims[i + 1]).is_free()) continue;
    if (!graph.dim(dims[i]).is_free() || dims[i] > dims[i + 1]) return false;
  }
  return true;
}

}  // namespace

std::vector<DimId> contracted_order(const Graph& graph, const Node& dot) {
  std::vector<DimId> free, fixed;
  for (DimId d : dot.attrs.dims) (graph.dim(d).is_free() ? free : fixed).push_back(d);
  std::sort(free.begin(), free.end());
  free.insert(free.end(), fixed.begin(), fixed.end());
  return free;
}

std::vector<DimId> matrix_order(const Graph& graph, const std::vector<DimId>& kept,
                                const std::vector<DimId>& contracted) {
  for (const auto& [first, second] : {std::pair(kept, contracted), std::pair(contracted, kept)}) {
    std::vector<DimId> order = first;
    order.insert(order.end(), second.begin(), second.end());
    if (is_type_order(graph, order)) return order;
  }
  return {};
}

bool is_view(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  return node.op == Op::At || node.op == Op::Slice || node.op == Op::Rename || node.op == Op::After;
}

ContractionSize contraction_dims(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const Type& x = graph.node(node.operands[0]).type;
  const Type& y = graph.node(node.operands[1]).type;
  ContractionSize sizes;
  for (DimId d : x.dims) {
    if (std::find(node.attrs.dims.begin(), node.attrs.dims.end(), d) != node.attrs.dims.end())
      sizes.contracted.push_back(d);
    else
      (y.has(d) ? sizes.batch : sizes.rows).push_back(d);
  }
  for (DimId d : y.dims)
    if (!x.has(d)) sizes.columns.push_back(d);
  return sizes;
}

bool is_matrix_product(const Graph& graph, NodeId id, bool fuse_projections) {
  const Node& node = graph.node(id);
  if (node.op != Op::Dot) return false;
  const ContractionSize sizes = contraction_dims(graph, id);
  if (!sizes.batch.empty()) return false;
  if (sizes.rows.empty() || sizes.columns.empty()) return false;
  // The result must be a matrix: the kept dims of one operand, then those of the other.
  std::vector<DimId> xy = sizes.rows, yx = sizes.columns;
  xy.insert(xy.end(), sizes.columns.begin(), sizes.columns.end());
  yx.insert(yx.end(), sizes.rows.begin(), sizes.rows.end());
  if (node.type.dims != xy && node.type.dims != yx) return false;
  const std::vector<DimId> order = contracted_order(graph, node);
  if (matrix_order(graph, sizes.rows, order).empty() || matrix_order(graph, sizes.columns, order).empty()) return false;
  const int64_t contracted = static_size(graph, sizes.contracted);
  const bool sums_free = std::any_of(sizes.contracted.begin(), sizes.contracted.end(),
                                     [&](DimId d) { return graph.dim(d).is_free(); });
  if (sums_free) return true;
  // A projection of something along free dimensions by a weight; which side is which does not matter.
  const bool x_free = all_free(graph, sizes.rows), y_free = all_free(graph, sizes.columns);
  const int64_t projected = x_free ? static_size(graph, sizes.columns)
                            : y_free ? static_size(graph, sizes.rows)
                                     : INT64_MAX;
  if (projected == INT64_MAX) return true;
  if (contracted <= kFewTerms) return false;
  return !fuse_projections || contracted > kSmallContraction || contracted * kSmallRatio > projected;
}

bool has_small_projections(const Graph& graph) {
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (is_matrix_product(graph, {i}, false) && !is_matrix_product(graph, {i}, true)) return true;
  return false;
}

}  // namespace mambac
