#include "passes/separate.h"

#include <algorithm>
#include <map>
#include <set>

#include "passes/lanes.h"
#include "passes/rewrite.h"
#include "passes/widths.h"

namespace mambac {

namespace {

/// One term of a sum that is not made, and the dimensions of the recurrences that it comes from.
struct Term {
  std::set<DimId> walks;
  NodeId now;
};

bool is_addition(Op op) {
  return op == Op::Add || op == Op::Sub;
}

bool go_together(const std::set<DimId>& one, const std::set<DimId>& other) {
  return one.empty() || other.empty() ||
         std::any_of(one.begin(), one.end(), [&](DimId d) { return other.count(d) > 0; });
}

class Separator {
 public:
  Separator(const Graph& graph, const Widths& widths)
      : rewriter_(graph),
        from_(graph),
        widths_(widths),
        walks_(walks_before(graph, widths)),
        ends_(graph.size(), false) {
    find_ends();
  }

  Graph run() {
    for (uint32_t i = 0; i < from_.size(); ++i) {
      const NodeId id{i};
      const Node& n = from_.node(id);
      const bool any = std::any_of(n.operands.begin(), n.operands.end(), [&](NodeId o) { return terms_.count(o) > 0; });
      if (is_addition(n.op) && widths_.wide(id) && ends_[i])
        add(id);
      else if (any)
        apply(id);
      else
        rewriter_.copy(id);
    }
    rewriter_.copy_outputs();
    return rewriter_.take();
  }

 private:
  /// Whether the reader is linear in the value, and no other wide operand ties it to a walk of its own.
  bool is_linear(const Node& reader, NodeId id) const {
    const auto& operands = reader.operands;
    if (is_addition(reader.op))
      return std::all_of(operands.begin(), operands.end(), [&](NodeId o) { return from_.node(o).type == reader.type; });
    if (reader.op == Op::Neg || reader.op == Op::Sum) return true;
    if (reader.op == Op::Div && operands[1] == id) return false;
    if (reader.op != Op::Mul && reader.op != Op::Div && reader.op != Op::Dot) return false;
    const NodeId other = operands[0] == id ? operands[1] : operands[0];
    return other != id && walks_[other.index].empty();
  }

  /// Which wide values all readers are linear in, and theirs, until the results are no longer wide.
  void find_ends() {
    const std::vector<std::vector<NodeId>> users = users_of(from_);
    const std::vector<bool> outputs = output_nodes(from_);
    for (uint32_t i = static_cast<uint32_t>(from_.size()); i-- > 0;) {
      const NodeId id{i};
      ends_[i] = widths_.wide(id) && !outputs[i] && !users[i].empty() &&
                 std::all_of(users[i].begin(), users[i].end(), [&](NodeId u) {
                   return is_linear(from_.node(u), id) && (!widths_.wide(u) || ends_[u.index]);
                 });
    }
  }

  std::vector<Term> terms_of(NodeId id) const {
    const auto found = terms_.find(id);
    if (found != terms_.end()) return found->second;
    return {{walks_[id.index], rewriter_.mapped(id)}};
  }

  NodeId append(NodeId old, Op op, std::vector<NodeId> operands) {
    Node node = from_.node(old);
    node.op = op;
    node.attrs = op == from_.node(old).op ? node.attrs : Attrs{};
    node.operands = std::move(operands);
    return rewriter_.to.append(std::move(node));
  }

  /// Terms of one walk are added up; the others stay apart.
  void add(NodeId id) {
    const Node& n = from_.node(id);
    std::vector<Term> terms = terms_of(n.operands[0]);
    for (const Term& term : terms_of(n.operands[1])) {
      const auto with = std::find_if(terms.begin(), terms.end(),
                                     [&](const Term& other) { return go_together(term.walks, other.walks); });
      if (with == terms.end()) {
        terms.push_back({term.walks, n.op == Op::Sub ? append(id, Op::Neg, {term.now}) : term.now});
      } else {
        with->now = append(id, n.op, {with->now, term.now});
        with->walks.insert(term.walks.begin(), term.walks.end());
      }
    }
    keep(id, std::move(terms));
  }

  /// What is linear in a sum is done with each of its terms.
  void apply(NodeId id) {
    const Node& n = from_.node(id);
    const size_t side = terms_.count(n.operands[0]) ? 0 : 1;
    std::vector<Term> terms = terms_of(n.operands[side]);
    for (Term& term : terms) {
      std::vector<NodeId> operands = rewriter_.translated(id).operands;
      operands[side] = term.now;
      term.now = append(id, n.op, std::move(operands));
    }
    if (widths_.wide(id)) return keep(id, std::move(terms));
    NodeId sum = terms[0].now;
    for (size_t i = 1; i < terms.size(); ++i) sum = append(id, Op::Add, {sum, terms[i].now});
    rewriter_.map(id, sum);
  }

  void keep(NodeId id, std::vector<Term> terms) {
    if (terms.size() == 1)
      rewriter_.map(id, terms[0].now);
    else
      terms_[id] = std::move(terms);
  }

  Rewriter rewriter_;
  const Graph& from_;
  const Widths& widths_;
  const std::vector<std::set<DimId>> walks_;
  std::vector<bool> ends_;
  std::map<NodeId, std::vector<Term>> terms_;  // of sums that are not made
};

}  // namespace

Graph separate_walks(const Graph& graph, bool fuse_projections) {
  const Widths widths(graph, fuse_projections);
  if (widths.walked().size() < 2) return graph;
  return Separator(graph, widths).run();
}

}  // namespace mambac
