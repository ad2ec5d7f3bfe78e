#include "passes/widths.h"

#include <algorithm>

#include "ir/dims.h"
#include "passes/contraction.h"

namespace mambac {

namespace {

bool in_memory(Op op) {
  return op == Op::Input || op == Op::Param || op == Op::Concat || op == Op::Stack || op == Op::Gather ||
         op == Op::Scatter;
}

int64_t fixed_dims(const Graph& graph, const Type& type) {
  return std::count_if(type.dims.begin(), type.dims.end(), [&](DimId d) { return !graph.dim(d).is_free(); });
}

bool has_all(const Type& type, const std::vector<DimId>& dims) {
  return std::all_of(dims.begin(), dims.end(), [&](DimId d) { return type.has(d); });
}

bool reduces_fixed(const Graph& graph, const Node& node) {
  return (class_of(node.op) == OpClass::Reduction || class_of(node.op) == OpClass::Contraction) &&
         std::any_of(node.attrs.dims.begin(), node.attrs.dims.end(), [&](DimId d) { return !graph.dim(d).is_free(); });
}

}  // namespace

Widths::Widths(const Graph& graph, bool fuse_projections)
    : wide_(graph.size(), false), large_(graph.size(), false), streams_(graph.size(), false) {
  for (const Node& node : graph.nodes())
    if (is_directional(node.op) && node.op != Op::ChunkStarts && !contains(walked_, node.attrs.dims[0]))
      walked_.push_back(node.attrs.dims[0]);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph.nodes()[i];
    if (in_memory(node.op)) add_stored(node.type);
    streams_[i] = (node.op == Op::Input || node.op == Op::Param) && along_walk(node.type);
    for (NodeId o : node.operands) streams_[i] = streams_[i] || (o.present() && streams_[o.index]);
  }
  for (bool more = true; more;) {  // more in memory, fewer wide values, more large contractions
    more = false;
    for (uint32_t i = 0; i < graph.size(); ++i) {
      large_[i] = is_matrix_product(graph, {i}, fuse_projections) &&
                  std::none_of(graph.nodes()[i].operands.begin(), graph.nodes()[i].operands.end(),
                               [&](NodeId o) { return wide_[o.index]; });
      if (large_[i] && add_stored(graph.nodes()[i].type)) more = true;
      wide_[i] = decide_wide(graph, {i});
    }
  }
}

bool Widths::along_walk(const Type& type) const {
  return std::any_of(walked_.begin(), walked_.end(), [&](DimId d) { return type.has(d); });
}

bool Widths::is_covered(const Type& type) const {
  return std::any_of(stored_.begin(), stored_.end(),
                     [&](const std::vector<DimId>& dims) { return common(type.dims, dims) == type.dims; });
}

bool Widths::add_stored(const Type& type) {
  if (!along_walk(type) || std::find(stored_.begin(), stored_.end(), type.dims) != stored_.end()) return false;
  stored_.push_back(type.dims);
  return true;
}

bool Widths::decide_wide(const Graph& graph, NodeId id) const {
  const Node& node = graph.node(id);
  if (fixed_dims(graph, node.type) < 2 || !along_walk(node.type)) return false;
  if (class_of(node.op) == OpClass::Source || node.op == Op::ChunkStarts || in_memory(node.op) || large_[id.index])
    return false;
  if (!streams_[id.index]) return true;  // made from nothing
  if (is_covered(node.type)) return false;
  bool any_wide = false, like_operand = false;
  for (NodeId o : node.operands) {
    if (!o.present() || !streams_[o.index]) continue;
    any_wide |= wide_[o.index];
    like_operand |= has_all(graph.node(o).type, node.type.dims);
  }
  if (is_view(graph, id)) return any_wide;
  if (reduces_fixed(graph, node) && any_wide) return false;
  return any_wide || !like_operand;
}

}  // namespace mambac
