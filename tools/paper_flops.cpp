#include "tools/paper_flops.h"

#include <algorithm>
#include <set>

#include "ir/dims.h"

namespace mambac::tools {
namespace {

class PaperCount {
 public:
  PaperCount(const Graph& graph, const Bindings& sizes) : graph_(graph), sizes_(sizes), head_(find_head()) {
    for (const Node& node : graph.nodes()) {
      if (node.op != Op::Input) continue;
      for (DimId d : node.type.dims)
        if (graph.dim(d).is_free() && !contains(free_, d)) free_.push_back(d);
    }
  }

  double run() const {
    double sum = 0;
    for (uint32_t i = 0; i < graph_.size(); ++i) sum += count({i});
    double positions = 1;
    for (DimId d : free_) positions *= static_cast<double>(size_of(graph_, d, sizes_));
    return sum / positions;
  }

 private:
  /// The contraction that gives a model of tokens its logits.
  NodeId find_head() const {
    const auto input = std::find_if(graph_.nodes().begin(), graph_.nodes().end(),
                                    [](const Node& node) { return node.op == Op::Input; });
    if (input == graph_.nodes().end() || is_float(input->type.dtype) || graph_.outputs().empty()) return {};
    const NodeId result = graph_.outputs().front().value;
    return graph_.node(result).op == Op::Dot ? result : NodeId{};
  }

  double elements(NodeId id) const { return static_cast<double>(elements_of(graph_, graph_.node(id).type, sizes_)); }
  bool is_along(NodeId id) const { return without(free_, graph_.node(id).type.dims).empty(); }
  bool has_state(NodeId id) const {
    const Dims& dims = graph_.node(id).type.dims;
    return is_along(id) &&
           std::count_if(dims.begin(), dims.end(), [&](DimId d) { return !graph_.dim(d).is_free(); }) > 1;
  }

  double count(NodeId id) const {
    const Node& node = graph_.node(id);
    switch (node.op) {
      case Op::Dot: {
        if (id == head_ || !is_along(id)) return 0;
        double count = 2 * elements(id);
        for (DimId d : node.attrs.dims) count *= static_cast<double>(size_of(graph_, d, sizes_));
        return count;
      }
      case Op::Scan: return elements(id);
      case Op::Sum: return has_state(node.operands[0]) ? elements(node.operands[0]) : 0;
      case Op::Mul: return has_state(id) || is_gate(id) ? elements(id) : 0;
      default: return 0;
    }
  }

  bool is_gate(NodeId id) const {
    const Node& node = graph_.node(id);
    const NodeId x = node.operands[0], y = node.operands[1];
    if (!is_along(x) || !is_along(y) || graph_.node(x).type.dims.size() < node.type.dims.size() ||
        graph_.node(y).type.dims.size() < node.type.dims.size())
      return false;
    return !made_from(x, y) && !made_from(y, x);
  }

  /// Whether x is y, or comes from it through ops that work element by element.
  bool made_from(NodeId x, NodeId y) const {
    std::set<NodeId> seen;
    std::vector<NodeId> open{x};
    while (!open.empty()) {
      const NodeId now = open.back();
      open.pop_back();
      if (now == y) return true;
      if (!is_pointwise(graph_.node(now).op) || !seen.insert(now).second) continue;
      for (NodeId o : graph_.node(now).operands)
        if (o.present() && is_along(o)) open.push_back(o);
    }
    return false;
  }

  const Graph& graph_;
  const Bindings& sizes_;
  NodeId head_;
  Dims free_;
};

}  // namespace

double paper_flops_per_position(const Graph& forward, const Bindings& sizes) {
  return PaperCount(forward, sizes).run();
}

}  // namespace mambac::tools
