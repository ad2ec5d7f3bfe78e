#include "codegen/place.h"

#include <algorithm>

#include "passes/contraction.h"
#include "passes/fuse.h"

namespace mambac {

namespace {

/// Of states at tiles: in the graph of a kernel alone they are inputs.
bool has_tiles(const Graph& graph, const Type& type) {
  return std::ranges::any_of(type.dims, [&](DimId d) { return graph.dim(d).is_tiles(); });
}

std::vector<DimId> channels_last(const Graph& graph, const Type& type) {
  std::vector<DimId> free, fixed;
  for (DimId d : type.dims) (graph.dim(d).is_free() ? free : fixed).push_back(d);
  std::reverse(fixed.begin(), fixed.end());
  free.insert(free.end(), fixed.begin(), fixed.end());
  return free;
}

}  // namespace

Layouts::Layouts(const Graph& fused) {
  for (uint32_t i = 0; i < fused.size(); ++i) {
    const Node& node = fused.node(NodeId{i});
    if (node.op == Op::ChunkStarts || (node.op == Op::Input && has_tiles(fused, node.type)))
      special_[i] = channels_last(fused, node.type);
    if (!is_join(node)) continue;
    for (size_t k = 0; k < node.operands.size(); ++k)
      joins_[node.operands[k].index] = {NodeId{i}, static_cast<int>(k)};
  }
  for (const Output& output : fused.outputs()) {
    if (output.name.rfind("grad.", 0) != 0) continue;
    const std::string target = output.name.substr(5);
    for (const Node& node : fused.nodes())
      if ((node.op == Op::Param && node.param.checkpoint_name == target) ||
          (node.op == Op::Input && node.name == target))
        if (node.type.dims != fused.node(output.value).type.dims) special_[output.value.index] = node.type.dims;
  }
}

const std::vector<DimId>& Layouts::of(const Graph& fused, NodeId root) const {
  auto found = special_.find(root.index);
  return found == special_.end() ? fused.node(root).type.dims : found->second;
}

std::pair<NodeId, int> Layouts::join_of(NodeId value) const {
  auto found = joins_.find(value.index);
  return found == joins_.end() ? std::pair<NodeId, int>{} : found->second;
}

MemoryPlace place_of(const Graph& fused, const Layouts& layouts, NodeId value) {
  std::map<DimId, MemoryIndex> index;
  for (DimId d : fused.node(value).type.dims) index[d] = {d, d, 0};
  auto moved = [&](DimId from, DimId to, int64_t offset) {
    MemoryIndex at = index[from];
    index.erase(from);
    at.root_dim = to;
    at.offset += offset;
    index[to] = at;
  };
  for (;;) {
    const Node& node = fused.node(value);
    if (is_view(fused, value) && node.kernel < 0) {
      if (node.op == Op::At) {
        const DimId d = node.attrs.dims[0];  // what is counted from the end of a fixed size may yet become part of more
        const bool from_end = node.attrs.integer < 0 && !fused.dim(d).is_free();
        index[d] = {d, {}, node.attrs.integer + (from_end ? fused.dim(d).size : 0)};
      } else if (node.op != Op::After) {
        moved(node.attrs.dims[1], node.attrs.dims[0], node.op == Op::Slice ? node.attrs.integer : 0);
      }
      value = node.operands[0];
      continue;
    }
    const auto [join, position] = layouts.join_of(value);
    if (!join.present()) break;
    const Node& joined = fused.node(join);
    if (joined.op == Op::Stack) {
      index[joined.attrs.dims[0]] = {joined.attrs.dims[0], {}, position};
    } else {
      int64_t offset = 0;
      for (int k = 0; k < position; ++k) offset += fused.dim(joined.attrs.dims[static_cast<size_t>(k) + 1]).size;
      moved(joined.attrs.dims[static_cast<size_t>(position) + 1], joined.attrs.dims[0], offset);
    }
    value = join;
  }
  MemoryPlace place{value, {}};
  for (DimId d : layouts.of(fused, value)) place.indices.push_back(index.at(d));
  return place;
}

}  // namespace mambac
