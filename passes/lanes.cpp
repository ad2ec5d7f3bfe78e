#include "passes/lanes.h"

#include <algorithm>

#include "ir/dims.h"

namespace mambac {

namespace {

std::vector<DimId> sorted(std::vector<DimId> dims) {
  std::sort(dims.begin(), dims.end());
  return dims;
}

/// The walk of a recurrence; of other nodes, those given.
std::set<DimId> own_or(const Node& node, const std::set<DimId>& walks) {
  return is_recurrence(node) ? std::set<DimId>{node.attrs.dims[0]} : walks;
}

}  // namespace

bool is_recurrence(const Node& node) {
  return is_directional(node.op) && node.op != Op::ChunkStarts;
}

bool is_window(const Node& node) {
  return node.op == Op::Window || node.op == Op::Overlap;
}

std::vector<DimId> static_dims(const Graph& graph, const Type& type) {
  std::vector<DimId> dims;
  for (DimId d : type.dims)
    if (!graph.dim(d).is_free()) dims.push_back(d);
  return dims;
}

std::vector<DimId> dims_per_step(const Graph& graph, const Type& type, DimId along) {
  return without(static_dims(graph, type), {along});
}

DimId largest(const Graph& graph, const std::vector<DimId>& dims) {
  DimId best{};
  for (DimId d : dims)
    if (best == DimId{} || graph.dim(d).size > graph.dim(best).size) best = d;
  return best;
}

std::vector<DimId> reduced_dims(const Node& node) {
  if (node.op == Op::PartDot) return {node.attrs.dims[0]};
  if (class_of(node.op) == OpClass::Reduction || class_of(node.op) == OpClass::Contraction) return node.attrs.dims;
  return {};
}

std::vector<std::set<DimId>> walks_before(const Graph& graph, const Widths& widths) {
  std::vector<std::set<DimId>> walks(graph.size());
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (!widths.wide({i})) continue;
    const Node& node = graph.nodes()[i];
    for (NodeId o : node.operands)
      if (o.present() && widths.wide(o)) walks[i].insert(walks[o.index].begin(), walks[o.index].end());
    walks[i] = own_or(node, walks[i]);
  }
  return walks;
}

Lanes::Lanes(const Graph& graph, const Widths& widths) : widths_(widths) {
  find_walks(graph);
  find_lanes_of_windows(graph);
  for (DimId along : widths.walked()) find_lanes_of_readers(graph, along);
}

void Lanes::find_lanes_of_windows(const Graph& graph) {
  for (const Node& node : graph.nodes())
    if (is_window(node) && !contains(taps_, node.attrs.dims[1])) taps_.push_back(node.attrs.dims[1]);
  for (const Node& node : graph.nodes()) {
    if (!is_window(node)) continue;
    const std::vector<DimId> fixed = dims_per_step(graph, node.type, node.attrs.dims[0]);
    const std::vector<DimId> kept = without(fixed, {node.attrs.dims[1]});
    lanes_.emplace(sorted(fixed), kept.empty() ? DimId{} : preferred(graph, kept));
  }
}

void Lanes::find_lanes_of_readers(const Graph& graph, DimId along) {
  for (const Node& node : graph.nodes()) {
    std::vector<DimId> reduced = reduced_dims(node);
    if (node.op == Op::Shift || node.op == Op::At || node.op == Op::Slice) reduced = {node.attrs.dims[0]};
    if (reduced.empty()) continue;
    for (NodeId o : node.operands) {
      const std::vector<DimId> fixed = dims_per_step(graph, graph.node(o).type, along);
      const std::vector<DimId> kept = without(fixed, reduced);
      if (fixed.size() < 2 || kept.empty() || kept.size() == fixed.size()) continue;
      lanes_.emplace(sorted(fixed), preferred(graph, kept));  // the first reader decides
    }
  }
}

DimId Lanes::of(const Graph& graph, const Type& type, DimId along) const {
  const std::vector<DimId> fixed = dims_per_step(graph, type, along);
  if (fixed.empty()) return {};
  auto found = lanes_.find(sorted(fixed));
  return found != lanes_.end() ? found->second : preferred(graph, fixed);
}

DimId Lanes::preferred(const Graph& graph, const std::vector<DimId>& dims) const {
  std::vector<DimId> channels, inmost;
  for (DimId d : dims)  // taps only when there is nothing else
    if (!contains(taps_, d)) channels.push_back(d);
  if (channels.empty()) channels = dims;
  for (DimId d : channels)
    if (std::none_of(channels.begin(), channels.end(), [&](DimId other) { return lies_around(graph, d, other); }))
      inmost.push_back(d);
  return largest(graph, inmost.empty() ? channels : inmost);
}

bool Lanes::lies_around(const Graph& graph, DimId dim, DimId other) const {
  constexpr int64_t kFewLanes = 8;
  if (dim == other || graph.dim(other).size < kFewLanes) return false;
  return std::any_of(widths_.stored().begin(), widths_.stored().end(), [&](const std::vector<DimId>& dims) {
    const auto at = std::find(dims.begin(), dims.end(), dim);
    return std::find(at, dims.end(), other) != dims.end();
  });
}

void Lanes::find_walks(const Graph& graph) {
  walks_ = walks_before(graph, widths_);
  std::vector<std::set<DimId>> after(graph.size());
  for (auto i = static_cast<uint32_t>(graph.size()); i-- > 0;) {
    const Node& node = graph.nodes()[i];
    for (NodeId o : node.operands)
      if (o.present() && widths_.wide(o)) after[o.index].merge(own_or(node, after[i]));
  }
  for (uint32_t i = 0; i < graph.size(); ++i) walks_[i].merge(after[i]);
}

std::vector<DimId> Lanes::walks_of(const Graph& graph, NodeId id) const {
  if (!widths_.wide(id)) return {};
  const std::set<DimId>& known = walks_[id.index];
  return known.empty() ? common(graph.node(id).type.dims, widths_.walked())
                       : std::vector<DimId>(known.begin(), known.end());
}

bool Lanes::can_walk(NodeId id, DimId along) const {
  return !widths_.wide(id) || walks_[id.index].empty() || walks_[id.index].count(along) > 0;
}

}  // namespace mambac
