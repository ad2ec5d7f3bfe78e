#include "tools/random_inputs.h"

#include <algorithm>
#include <cmath>

#include "passes/contraction.h"
#include "passes/rewrite.h"
#include "runtime/hash.h"
#include "runtime/rng.h"

namespace mambac::tools {
namespace {

constexpr int64_t kFirstSize = 2, kOtherSize = 37;
constexpr double kLargest = 256;  // integers that index nothing are below
constexpr double kBeginnings = 1.0 / 8;

/// What integers are for.
struct Use {
  double below = kLargest;
  bool starts = false;
};

/// What the readers of a value make of it, through cuts and other names of it.
Use use_of(const Graph& graph, const std::vector<std::vector<NodeId>>& users, NodeId id) {
  Use use;
  for (NodeId user : users[id.index]) {
    const Node& node = graph.node(user);
    const auto limit = [&](DimId d) {
      if (!graph.dim(d).is_free()) use.below = std::min(use.below, static_cast<double>(graph.dim(d).size));
    };
    if (node.op == Op::Gather && node.operands[1] == id) limit(node.attrs.dims[0]);
    if (node.op == Op::Scatter && node.operands[0] == id) limit(node.attrs.dims[0]);
    if (node.op == Op::Eq)
      for (NodeId o : node.operands)
        if (graph.node(o).op == Op::Iota) limit(graph.node(o).attrs.dims[0]);
    use.starts = use.starts || operand(node, "starts") == id;
    if (!is_view(graph, user) && node.op != Op::Cast && node.op != Op::Stop) continue;
    const Use further = use_of(graph, users, user);
    use = {std::min(use.below, further.below), use.starts || further.starts};
  }
  return use;
}

}  // namespace

Bindings with_default_sizes(const Graph& graph, Bindings sizes) {
  bool first = true;
  for (const Dim& dim : graph.dims()) {
    if (!dim.is_free() || dim.is_tiles()) continue;
    sizes.emplace(dim.name, first ? kFirstSize : kOtherSize);
    first = false;
  }
  return sizes;
}

Arrays random_inputs(const Graph& graph, const Bindings& sizes, const ParameterSource& source) {
  const std::vector<std::vector<NodeId>> users = users_of(graph);
  std::map<std::string, GivenArray> given;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph.node(NodeId{i});
    if (node.op != Op::Input) continue;
    Array array{shape_of(graph, node.type, sizes), {}};
    array.data.resize(static_cast<size_t>(elements_of(graph, node.type, sizes)));
    Rng rng(source.seed, hash_64(node.name));
    const Use use = use_of(graph, users, NodeId{i});
    for (double& x : array.data) {
      if (use.starts)
        x = rng.uniform() < kBeginnings ? 1 : 0;
      else if (is_float(node.type.dtype))
        x = 2 * rng.uniform() - 1;
      else
        x = std::floor(rng.uniform() * use.below);
    }
    given[node.name] = {"random numbers", std::move(array), !is_float(node.type.dtype)};
  }
  Arrays values = complete_values(graph, sizes, given, source);
  for (const Node& node : graph.nodes())
    if (const auto value = values.find(node.name); value != values.end())
      for (double& x : value->second.data) x = round_to(node.type.dtype, x);
  return values;
}

}  // namespace mambac::tools
