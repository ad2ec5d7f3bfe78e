#include "runtime/library_shapes.h"

#include <algorithm>
#include <map>
#include <utility>

#include "ir/error.h"
#include "passes/contraction.h"

namespace mambac {

namespace {

/// A value seen as a strided array: the stride in elements of each of its dims, and where it starts.
struct Strided {
  CallOperand place;
  std::map<DimId, int64_t> stride;

  int64_t along(DimId d) const {
    const auto found = stride.find(d);
    return found == stride.end() ? 0 : found->second;
  }
};

/// `pointer`: the position of the value's root among the roots.
Strided strided(const Graph& graph, const Layouts& layouts, NodeId value, size_t pointer, const Bindings& bindings) {
  const MemoryPlace place = place_of(graph, layouts, value);
  const Type& root = graph.node(place.root).type;
  Strided s;
  int64_t offset = 0, stride = 1;
  for (auto index = place.indices.rbegin(); index != place.indices.rend(); ++index) {
    const int64_t size = size_of(graph, index->root_dim, bindings);
    offset += (index->offset >= 0 || index->from != DimId{} ? index->offset : size + index->offset) * stride;
    if (index->from != DimId{}) s.stride[index->from] = stride;
    stride *= size;
  }
  s.place = {pointer, offset * static_cast<int64_t>(bytes_of(root.dtype)), root.dtype,
             elements_of(graph, root, bindings) - offset};
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

}  // namespace

std::vector<NodeId> library_roots(const Graph& graph, const Layouts& layouts, NodeId id) {
  std::vector<NodeId> roots;
  for (NodeId o : graph.node(id).operands) roots.push_back(place_of(graph, layouts, o).root);
  roots.push_back(place_of(graph, layouts, id).root);
  return roots;
}

LibraryProduct library_product(const Graph& graph, const Layouts& layouts, NodeId id, const Bindings& bindings) {
  const Node& node = graph.node(id);
  ContractionSize dims = contraction_dims(graph, id);
  Strided x = strided(graph, layouts, node.operands[0], 0, bindings);
  Strided y = strided(graph, layouts, node.operands[1], 1, bindings);
  const Strided z = strided(graph, layouts, id, 2, bindings);
  NodeId right = node.operands[1];
  // Columns of the result are neighbours in memory.
  const int64_t column_stride = group_stride(graph, z, dims.columns, bindings);
  const int64_t row_stride = group_stride(graph, z, dims.rows, bindings);
  if (column_stride > 1 && row_stride <= 1) {
    std::swap(x, y);
    std::swap(dims.rows, dims.columns);
    right = node.operands[0];
  }
  MatmulShape shape;
  shape.m = product(graph, dims.rows, bindings);
  shape.n = product(graph, dims.columns, bindings);
  shape.k = product(graph, dims.contracted, bindings);
  shape.a = x.place.dtype;
  shape.b = y.place.dtype;
  shape.c = z.place.dtype;
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
  return {shape, x.place, y.place, z.place, graph.node(place_of(graph, layouts, right).root).op == Op::Param};
}

TableLookup table_lookup(const Graph& graph, const Layouts& layouts, NodeId id, const Bindings& bindings) {
  const Node& node = graph.node(id);
  check(node.op == Op::Gather || node.op == Op::Scatter, "unknown library call");
  const bool gather = node.op == Op::Gather;
  const NodeId table_id = gather ? node.operands[0] : id, index_id = node.operands[gather ? 1 : 0];
  const NodeId values_id = gather ? id : node.operands[1];
  const Strided table = strided(graph, layouts, table_id, gather ? 0 : 2, bindings);
  const Strided index = strided(graph, layouts, index_id, gather ? 1 : 0, bindings);
  const Strided values = strided(graph, layouts, values_id, gather ? 2 : 1, bindings);
  const DimId rows = node.attrs.dims[0];
  TableLookup call;
  call.gather = gather;
  for (DimId d : graph.node(index_id).type.dims)  // values without a dimension of the index count once for each of it
    if (!graph.node(values_id).type.has(d)) call.loops.push_back({size_of(graph, d, bindings), 0, index.along(d), 0});
  for (DimId d : graph.node(values_id).type.dims)
    call.loops.push_back(
        {size_of(graph, d, bindings), values.along(d), index.along(d), d == rows ? 0 : table.along(d)});
  call.rows = size_of(graph, rows, bindings);
  call.row_stride = table.stride.at(rows);
  call.table_elements = elements_of(graph, graph.node(table_id).type, bindings);
  call.table = table.place;
  call.index = index.place;
  call.values = values.place;
  return call;
}

}  // namespace mambac
