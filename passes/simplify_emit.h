// Appending nodes in their simplest form; used by the simplify pass only.
#pragma once

#include <optional>
#include <unordered_map>

#include "ir/graph.h"
#include "passes/simplify.h"

namespace mambac {

/// Appends nodes to a graph after trying the rules of simplify_rules.cpp, and returns the node that is already there
/// when an equal one is. Sources are never merged. The order of appending alone decides which node is "the first".
class Emitter {
 public:
  Emitter(Graph& graph, const SimplifyOptions& options) : graph_(graph), options_(options) {}

  /// The node that computes what `node` would; its type is the type that `node` would have.
  NodeId emit(Node node);

  /// As emit(), in place of `like`, whose name and location it takes; part() is for what leads up to it.
  NodeId make(const Node& like, Op op, std::vector<NodeId> operands, Attrs attrs = {});
  NodeId part(const Node& like, Op op, std::vector<NodeId> operands, Attrs attrs = {});

  const Graph& graph() const { return graph_; }
  const SimplifyOptions& options() const { return options_; }
  const Node& node(NodeId id) const { return graph_.node(id); }
  const Type& type(NodeId id) const { return graph_.node(id).type; }
  /// The number that a value is everywhere, looking through broadcasts.
  std::optional<double> number(NodeId id) const;

 private:
  NodeId numbered(Node node, const Type& type);

  Graph& graph_;
  SimplifyOptions options_;
  std::unordered_multimap<size_t, NodeId> by_hash_;
};

/// A simpler value for the node, absent when no rule applies. It may have another type: the caller compares.
NodeId simpler(Emitter& emitter, const Node& node);

/// The sum of the terms (of types within that of `like`), in which puts that fill a dimension are stacked and unslices
/// that fill one are concatenated; absent when there are no such terms.
NodeId merged_sum(Emitter& emitter, const Node& like, const std::vector<NodeId>& terms);

}  // namespace mambac
