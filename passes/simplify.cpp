#include "passes/simplify.h"

#include <bit>

#include "passes/rewrite.h"
#include "passes/simplify_emit.h"

namespace mambac {

namespace {

size_t mix(size_t seed, size_t value) {
  return (seed ^ value) * 0x9E3779B97F4A7C15ull + (seed >> 29);
}

bool is_commutative(Op op) {
  return op == Op::Add || op == Op::Mul || op == Op::Eq;
}

size_t hash_of(const Node& node) {
  size_t hash = mix(static_cast<size_t>(node.op), std::bit_cast<uint64_t>(node.attrs.number));
  hash = mix(hash, static_cast<size_t>(node.attrs.integer));
  hash = mix(hash, static_cast<size_t>(node.attrs.dtype) * 2 + node.attrs.reverse);
  for (DimId dim : node.attrs.dims) hash = mix(hash, dim.index);
  if (is_commutative(node.op)) return hash + node.operands[0].index + node.operands[1].index;
  for (NodeId operand : node.operands) hash = mix(hash, operand.index);
  return hash;
}

bool same_number(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

bool is_equal(const Node& a, const Node& b) {
  if (a.op != b.op || !same_number(a.attrs.number, b.attrs.number)) return false;
  if (a.attrs.dims != b.attrs.dims || a.attrs.integer != b.attrs.integer || a.attrs.dtype != b.attrs.dtype)
    return false;
  if (a.attrs.reverse != b.attrs.reverse) return false;
  if (a.operands == b.operands) return true;
  return is_commutative(a.op) && a.operands[0] == b.operands[1] && a.operands[1] == b.operands[0];
}

/// Collects the terms of a tree of adds whose inner sums nobody else reads, left to right.
std::vector<NodeId> terms_of(const Rewriter& rewriter, NodeId root, const std::vector<bool>& inner) {
  std::vector<NodeId> terms, open{root};
  while (!open.empty()) {
    NodeId id = open.back();
    open.pop_back();
    if (id != root && !inner[id.index]) {
      terms.push_back(rewriter.mapped(id));
      continue;
    }
    const Node& node = rewriter.from.node(id);
    open.push_back(node.operands[1]);
    open.push_back(node.operands[0]);
  }
  return terms;
}

/// The adds that only one other add reads.
std::vector<bool> inner_adds(const Graph& graph) {
  std::vector<bool> inner = output_nodes(graph);
  inner.flip();
  const auto users = users_of(graph);
  for (size_t i = 0; i < graph.size(); ++i) {
    bool once = users[i].size() == 1 && graph.node(users[i][0]).op == Op::Add;
    inner[i] = inner[i] && once && graph.nodes()[i].op == Op::Add;
  }
  return inner;
}

Graph simplify_once(const Graph& graph, const SimplifyOptions& options) {
  Rewriter rewriter(graph);
  Emitter emitter(rewriter.to, options);
  const std::vector<bool> inner = inner_adds(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph.nodes()[i];
    NodeId now;
    if (node.op == Op::Add && !inner[i]) now = merged_sum(emitter, node, terms_of(rewriter, {i}, inner));
    if (!now.present()) now = emitter.emit(rewriter.translated({i}));
    rewriter.map({i}, now);
  }
  rewriter.copy_outputs();
  Graph simpler = rewriter.take();
  simpler.remove_dead();
  return simpler;
}

}  // namespace

NodeId Emitter::emit(Node node) {
  if (class_of(node.op) == OpClass::Source && node.op != Op::Const && node.op != Op::Iota && node.op != Op::Extent) {
    return graph_.append(std::move(node));
  }
  const Type type = infer_type(graph_, node);
  NodeId found = simpler(*this, node);
  if (found.present() && graph_.node(found).type == type) return found;
  return numbered(std::move(node), type);
}

NodeId Emitter::make(const Node& like, Op op, std::vector<NodeId> operands, Attrs attrs) {
  Node node;
  node.op = op;
  node.operands = std::move(operands);
  node.operands.resize(std::max(node.operands.size(), info(op).operands.size()));
  node.attrs = std::move(attrs);
  node.name = like.name;
  node.location = like.location;
  return emit(std::move(node));
}

NodeId Emitter::part(const Node& like, Op op, std::vector<NodeId> operands, Attrs attrs) {
  Node named = like;
  named.name += ".part";
  return make(named, op, std::move(operands), std::move(attrs));
}

std::optional<double> Emitter::number(NodeId id) const {
  if (!id.present()) return std::nullopt;
  const Node* node = &graph_.node(id);
  while (node->op == Op::Broadcast) node = &graph_.node(node->operands[0]);
  if (node->op != Op::Const) return std::nullopt;
  return node->attrs.number;
}

NodeId Emitter::numbered(Node node, const Type& type) {
  const size_t hash = hash_of(node);
  NodeId found;
  auto [begin, end] = by_hash_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    const Node& there = graph_.node(it->second);
    if (is_equal(there, node) && there.type == type && (!found.present() || it->second < found)) found = it->second;
  }
  if (found.present()) return found;
  NodeId id = graph_.append(std::move(node));
  by_hash_.emplace(hash, id);
  return id;
}

Graph simplify(const Graph& graph, const SimplifyOptions& options) {
  // A rule sees operands that are simple already, so the second round finds little; it ends when nothing is found.
  constexpr int kMostRounds = 4;
  Graph result = simplify_once(graph, options);
  for (int round = 1; round < kMostRounds; ++round) {
    Graph next = simplify_once(result, options);
    bool smaller = next.size() < result.size();
    result = std::move(next);
    if (!smaller) break;
  }
  return result;
}

}  // namespace mambac
