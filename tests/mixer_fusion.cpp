#include "tests/mixer_fusion.h"

#include <algorithm>

#include "passes/fuse.h"

namespace mambac::test {

namespace {

bool is_generated(const Graph& graph, NodeId id) {
  return graph.node(id).kernel >= 0 && !is_library(graph, id);
}
bool is_product(const Graph& graph, NodeId id) {
  return is_library(graph, id) && graph.node(id).op == Op::Dot;
}

/// All that `from` is computed from, up to and including library results.
std::vector<bool> sources_of(const Graph& graph, NodeId from) {
  std::vector<bool> found(graph.size(), false);
  found[from.index] = true;
  for (uint32_t i = from.index + 1; i-- > 0;) {
    if (!found[i] || (i != from.index && is_library(graph, {i}))) continue;
    for (NodeId o : graph.node({i}).operands)
      if (o.present()) found[o.index] = true;
  }
  return found;
}

/// All that is computed from `from`, up to and including library results.
std::vector<bool> users_of_value(const Graph& graph, NodeId from) {
  std::vector<bool> found(graph.size(), false);
  found[from.index] = true;
  for (uint32_t i = from.index + 1; i < graph.size(); ++i)
    for (NodeId o : graph.node({i}).operands)
      if (o.present() && found[o.index] && (o == from || !is_library(graph, o))) found[i] = true;
  return found;
}

}  // namespace

std::vector<MixerCore> mixer_cores(const Graph& graph) {
  std::vector<MixerCore> cores;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& scan = graph.node({i});
    if (scan.op != Op::Scan || scan.attrs.reverse || operand(scan, "resume").present()) continue;
    if (graph.kernels[static_cast<size_t>(scan.kernel)].reverse) continue;
    const std::vector<bool> before = sources_of(graph, {i}), after = users_of_value(graph, {i});
    NodeId entry, exit;
    for (uint32_t k = 0; k < i; ++k)
      if (before[k] && is_product(graph, {k})) entry = {k};
    for (uint32_t k = static_cast<uint32_t>(graph.size()); k-- > i;)
      if (after[k] && is_product(graph, {k})) exit = {k};
    if (!entry.present() || !exit.present()) continue;
    const std::vector<bool> depends = users_of_value(graph, entry), needed = sources_of(graph, exit);
    MixerCore core{{i}, {}};
    for (uint32_t k = entry.index + 1; k < exit.index; ++k)
      if (depends[k] && needed[k] && is_generated(graph, {k})) core.nodes.push_back({k});
    cores.push_back(core);
  }
  return cores;
}

std::vector<std::string> stored_states(const Graph& graph) {
  const std::vector<bool> stored = values_in_memory(graph);
  std::vector<std::string> found;
  for (const Node& scan : graph.nodes()) {
    if (scan.op != Op::Scan) continue;
    std::vector<DimId> dims{scan.attrs.dims[0]};
    for (DimId d : scan.type.dims)
      if (!graph.dim(d).is_free()) dims.push_back(d);
    if (dims.size() < 3) continue;
    for (uint32_t i = 0; i < graph.size(); ++i) {
      const Type& type = graph.node({i}).type;
      const std::string& name = graph.node({i}).name;
      if (stored[i] && std::all_of(dims.begin(), dims.end(), [&](DimId d) { return type.has(d); }) &&
          std::find(found.begin(), found.end(), name) == found.end())
        found.push_back(name);
    }
  }
  return found;
}

}  // namespace mambac::test
