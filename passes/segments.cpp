#include "passes/segments.h"

#include <algorithm>

namespace mambac {

namespace {

/// What the output needs.
std::vector<bool> ancestors(const Graph& graph, NodeId output) {
  std::vector<bool> found(graph.size(), false);
  found[output.index] = true;
  for (uint32_t i = output.index + 1; i-- > 0;) {
    if (!found[i]) continue;
    for (NodeId o : graph.node(NodeId{i}).operands)
      if (o.present()) found[o.index] = true;
  }
  return found;
}

/// Of those, what depends on an input.
std::vector<bool> computed_from_inputs(const Graph& graph, NodeId output) {
  std::vector<bool> computed = ancestors(graph, output);
  std::vector<bool> depends(graph.size(), false);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph.node(NodeId{i});
    depends[i] = node.op == Op::Input;
    for (NodeId o : node.operands) depends[i] = depends[i] || (o.present() && depends[o.index]);
    computed[i] = computed[i] && depends[i] && node.op != Op::Input;
  }
  return computed;
}

/// By node, the last computed one that reads it.
std::vector<uint32_t> last_readers(const Graph& graph, const std::vector<bool>& computed) {
  std::vector<uint32_t> last(graph.size(), 0);
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (computed[i])
      for (NodeId o : graph.node(NodeId{i}).operands)
        if (o.present()) last[o.index] = i;
  return last;
}

/// Elements per step: free dimensions are the same for all values that compete.
int64_t fixed_bytes(const Graph& graph, NodeId id) {
  const Type& type = graph.node(id).type;
  int64_t bytes = static_cast<int64_t>(bytes_of(type.dtype));
  for (DimId d : type.dims)
    if (!graph.dim(d).is_free()) bytes *= graph.dim(d).size;
  return bytes;
}

}  // namespace

Segments segments_of(const Graph& graph, NodeId output) {
  Segments segments{{}, computed_from_inputs(graph, output)};
  const std::vector<uint32_t> last = last_readers(graph, segments.computed);
  uint32_t open_until = 0;  // the last reader of what came before
  NodeId best;              // to end the part
  bool walked = false;      // whether there was a recurrence yet
  for (uint32_t i = 0; i < output.index; ++i) {
    if (!segments.computed[i]) continue;
    const NodeId id{i};
    if (is_directional(graph.node(id).op)) {
      if (best.present()) segments.ends.push_back(best);
      best = {};
      walked = true;
    }
    const bool cut = open_until <= i;
    open_until = std::max(open_until, last[i]);
    if (!cut || !walked) continue;
    if (!best.present() || fixed_bytes(graph, id) < fixed_bytes(graph, best)) best = id;
  }
  return segments;
}

int recomputable_parts(const Graph& graph, std::string_view output) {
  const auto found = std::ranges::find(graph.outputs(), output, &Output::name);
  return found == graph.outputs().end() ? 0 : static_cast<int>(segments_of(graph, found->value).ends.size());
}

}  // namespace mambac
