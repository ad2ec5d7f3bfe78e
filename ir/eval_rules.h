// The rules behind `evaluate`: one function eval_X per name X in the `eval` column of the op table.
#pragma once

#include <vector>

#include "ir/dims.h"
#include "ir/eval.h"

namespace mambac::evaluator {

using Sizes = std::vector<int64_t>;

/// Calls body(offsets) for every index of a space of these sizes, last one fastest; offsets[v] is where view v of it
/// stands, given its strides.
template <typename Body>
void loop(const Sizes& sizes, const std::vector<Sizes>& strides, const Body& body) {
  Sizes index(sizes.size(), 0), offsets(strides.size(), 0);
  while (true) {
    body(offsets);
    size_t axis = sizes.size();
    while (axis > 0) {
      --axis;
      for (size_t v = 0; v < strides.size(); ++v) offsets[v] += strides[v][axis];
      if (++index[axis] < sizes[axis]) break;
      for (size_t v = 0; v < strides.size(); ++v) offsets[v] -= strides[v][axis] * sizes[axis];
      index[axis] = 0;
      if (axis == 0) return;
    }
    if (sizes.empty()) return;
  }
}

/// One node being evaluated: its result `out`, filled with zeros, and its operands.
struct Evaluation {
  const Graph& graph;
  const Bindings& bindings;
  const std::vector<Array>& values;
  const Node& node;
  Array& out;

  DimId dim(size_t i) const { return node.attrs.dims[i]; }
  int64_t size(DimId dim) const { return size_of(graph, dim, bindings); }
  Sizes sizes(const Dims& dims) const {
    Sizes result;
    for (DimId dim : dims) result.push_back(size(dim));
    return result;
  }
  const Type& type(size_t operand) const { return graph.node(node.operands[operand]).type; }
  const double* data(size_t operand) const { return values[node.operands[operand].index].data.data(); }

  /// Elements between neighbours along a dimension of a dense value; 0 when it lacks the dimension.
  int64_t stride(const Type& type, DimId dim) const {
    int64_t stride = 1;
    for (size_t i = type.dims.size(); i-- > 0; stride *= size(type.dims[i])) {
      if (type.dims[i] == dim) return stride;
    }
    return 0;
  }
  Sizes strides(const Type& type, const Dims& dims) const {
    Sizes result;
    for (DimId dim : dims) result.push_back(stride(type, dim));
    return result;
  }
  /// out[out_base + ...] = x[x_base + ...]; dimension i of the copied block is out_dims[i] of the result and x_dims[i]
  /// of the operand, and as large as block_dims[i].
  void copy(size_t operand, const Dims& block_dims, const Dims& out_dims, int64_t out_base, const Dims& x_dims,
            int64_t x_base) {
    const double* x = data(operand);
    loop(sizes(block_dims), {strides(node.type, out_dims), strides(type(operand), x_dims)},
         [&](const Sizes& at) { out.data[out_base + at[0]] = x[x_base + at[1]]; });
  }
};

void eval_bound(Evaluation& e);
void eval_constant(Evaluation& e);
void eval_iota(Evaluation& e);
void eval_extent(Evaluation& e);
void eval_pointwise(Evaluation& e);
void eval_reduction(Evaluation& e);
void eval_dot(Evaluation& e);
void eval_part_dot(Evaluation& e);
void eval_at(Evaluation& e);
void eval_put(Evaluation& e);
void eval_slice(Evaluation& e);
void eval_unslice(Evaluation& e);
void eval_concat(Evaluation& e);
void eval_stack(Evaluation& e);
void eval_shift(Evaluation& e);
void eval_rename(Evaluation& e);
void eval_broadcast(Evaluation& e);
void eval_gather(Evaluation& e);
void eval_scatter(Evaluation& e);
void eval_scan(Evaluation& e);
void eval_delay(Evaluation& e);
void eval_window(Evaluation& e);
void eval_overlap(Evaluation& e);
void eval_chunk_starts(Evaluation& e);

}  // namespace mambac::evaluator
