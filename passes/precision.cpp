#include "passes/precision.h"

#include <algorithm>

#include "ir/dims.h"
#include "passes/contraction.h"
#include "passes/fuse.h"
#include "passes/rewrite.h"
#include "passes/widths.h"

namespace mambac {

namespace {

/// What lower_precision decides about the nodes of a graph before it changes any.
struct Plan {
  std::vector<bool> large;          // large contractions
  std::vector<bool> narrow_result;  // ... whose result is stored narrow
  std::vector<bool> cast;           // f32 values that are cast
  std::vector<bool> cast_for_all;   // ... and whose readers all read the cast value
};

bool sums_free(const Graph& graph, const Node& dot) {
  return std::any_of(dot.attrs.dims.begin(), dot.attrs.dims.end(), [&](DimId d) { return graph.dim(d).is_free(); });
}

class Planner {
 public:
  Planner(const Graph& graph, bool fuse_projections)
      : graph_(graph), widths_(graph, fuse_projections), users_(users_of(graph)), is_output_(output_nodes(graph)) {}

  Plan plan() const {
    Plan plan;
    plan.large.resize(graph_.size());
    plan.narrow_result.resize(graph_.size());
    plan.cast.resize(graph_.size());
    plan.cast_for_all.resize(graph_.size());
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      plan.large[i] = widths_.large({i});
      if (!plan.large[i]) continue;
      const Node& dot = graph_.nodes()[i];
      plan.narrow_result[i] = !sums_free(graph_, dot) && !is_wanted_whole(NodeId{i});
      for (NodeId operand : dot.operands) plan.cast[operand.index] = graph_.node(operand).type.dtype == DType::f32;
    }
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      if (plan.narrow_result[i]) plan.cast[i] = false;
      plan.cast_for_all[i] = plan.cast[i] && !stays_whole({i});
    }
    return plan;
  }

 private:
  /// Outputs; logits: a maximum is taken of them, and differences to it are exponentiated; and what is compared, as
  /// values are with their largest: rounded, it would equal nothing.
  bool is_wanted_whole(NodeId id) const {
    if (is_output_[id.index]) return true;
    return std::any_of(users_[id.index].begin(), users_[id.index].end(), [&](NodeId user) {
      const Op op = graph_.node(user).op;
      return op == Op::Amax || op == Op::Eq || (is_view(graph_, user) && is_wanted_whole(user));
    });
  }

  bool stays_whole(NodeId id) const {
    const Node& node = graph_.node(id);
    if (class_of(node.op) == OpClass::Source || is_wanted_whole(id)) return true;
    return std::any_of(users_[id.index].begin(), users_[id.index].end(), [&](NodeId user) {
      const Node& reader = graph_.node(user);
      return (reader.op == Op::Add || reader.op == Op::Sub) && reader.type == node.type;
    });
  }

  const Graph& graph_;
  Widths widths_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<bool> is_output_;
};

class Lowering {
 public:
  Lowering(const Graph& graph, DType storage, bool fuse_projections)
      : rewriter_(graph),
        storage_(storage),
        plan_(Planner(graph, fuse_projections).plan()),
        narrow_(graph.size()) {}

  Graph run() {
    for (uint32_t i = 0; i < rewriter_.from.size(); ++i) visit({i});
    rewriter_.copy_outputs();
    for (size_t i = 0; i < rewriter_.from.outputs().size(); ++i)
      restore(rewriter_.from.outputs()[i], rewriter_.to.outputs()[i]);
    Graph lowered = rewriter_.take();
    lowered.remove_dead();
    return lowered;
  }

 private:
  void visit(NodeId id) {
    Node node = rewriter_.translated(id);
    const std::vector<NodeId>& old = rewriter_.from.node(id).operands;
    const bool narrow_join = is_join(node) && plan_.cast_for_all[id.index];
    if (narrow_join || plan_.large[id.index]) {
      for (size_t i = 0; i < old.size(); ++i) {
        if (narrow_[old[i].index].present()) node.operands[i] = narrow_[old[i].index];
      }
    }
    if (plan_.narrow_result[id.index]) node.attrs.dtype = storage_;
    if (is_join(node)) unify(node, narrow_join ? storage_ : DType::f32);
    NodeId now = rewriter_.to.append(std::move(node));
    rewriter_.map(id, now);
    if (!plan_.cast[id.index] || dtype(now) != DType::f32) return;
    narrow_[id.index] = cast(now, storage_);
    if (plan_.cast_for_all[id.index]) rewriter_.map(id, narrow_[id.index]);
  }

  DType dtype(NodeId now) const { return rewriter_.to.node(now).type.dtype; }

  NodeId cast(NodeId value, DType to) { return append_cast(rewriter_.to, value, to); }

  /// Pieces side by side have one element type: `wanted` when theirs differ. A join that is stored narrow is made
  /// of narrow pieces, so that each is written into its place.
  void unify(Node& node, DType wanted) {
    auto differs = [&](NodeId id) { return dtype(id) != dtype(node.operands[0]); };
    const bool mixed = std::any_of(node.operands.begin(), node.operands.end(), differs);
    if (!mixed && wanted == DType::f32) return;
    for (NodeId& operand : node.operands) {
      if (is_float(dtype(operand)) && dtype(operand) != wanted) operand = cast(operand, wanted);
    }
  }

  /// Outputs keep their element type.
  void restore(const Output& before, Output& after) {
    const DType wanted = rewriter_.from.node(before.value).type.dtype;
    if (dtype(after.value) != wanted) after.value = cast(after.value, wanted);
  }

  Rewriter rewriter_;
  DType storage_;
  Plan plan_;
  std::vector<NodeId> narrow_;  // by old node: its cast
};

}  // namespace

Graph lower_precision(const Graph& graph, DType storage, bool fuse_projections) {
  if (storage == DType::f32) return graph;
  check(storage == DType::bf16 || storage == DType::f16, "values are stored as f32, bf16 or f16");
  return Lowering(graph, storage, fuse_projections).run();
}

namespace {

/// Whether every reader of the parameter rounds it to `storage` or looks up rows of it.
bool can_be_narrow(const Graph& graph, NodeId param, const std::vector<NodeId>& users, DType storage) {
  return !users.empty() && std::all_of(users.begin(), users.end(), [&](NodeId user) {
    const Node& reader = graph.node(user);
    return (reader.op == Op::Cast && reader.attrs.dtype == storage) ||
           (reader.op == Op::Gather && reader.operands[0] == param && reader.operands[1] != param);
  });
}

}  // namespace

Graph narrow_parameters(const Graph& graph, DType storage) {
  if (storage == DType::f32) return graph;
  const std::vector<std::vector<NodeId>> users = users_of(graph);
  const std::vector<bool> is_output = output_nodes(graph);
  std::vector<bool> narrow(graph.size());
  Rewriter rewriter(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node node = rewriter.translated({i});
    if (node.op == Op::Param && node.type.dtype == DType::f32 && !is_output[i]) {
      narrow[i] = can_be_narrow(graph, {i}, users[i], storage);
      if (narrow[i]) node.type.dtype = storage;
    }
    const bool reads_narrow = !graph.nodes()[i].operands.empty() && graph.nodes()[i].operands[0].present() &&
                              narrow[graph.nodes()[i].operands[0].index];
    if (reads_narrow && node.op == Op::Cast) {
      rewriter.map({i}, node.operands[0]);
      continue;
    }
    const NodeId now = rewriter.to.append(std::move(node));
    rewriter.map({i}, now);
    if (!reads_narrow) continue;  // a gather: what follows reads f32 as before
    rewriter.map({i}, append_cast(rewriter.to, now, DType::f32));
  }
  rewriter.copy_outputs();
  return rewriter.take();
}

}  // namespace mambac
