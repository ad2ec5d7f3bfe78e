#include "passes/regroup.h"

#include <algorithm>

#include "ir/dims.h"
#include "passes/rewrite.h"

namespace mambac {

namespace {

constexpr size_t kMostFactors = 12;

class Regrouper {
 public:
  explicit Regrouper(const Graph& graph) : rewriter_(graph), from_(graph), users_(users_of(graph)) {}

  Graph run() {
    for (uint32_t i = 0; i < from_.size(); ++i) {
      const NodeId id{i};
      NodeId now{};
      if (from_.node(id).op == Op::Mul) now = product(id);
      if (from_.node(id).op == Op::Sum) now = sum(id);
      if (now.present())
        rewriter_.map(id, now);
      else
        rewriter_.copy(id);
    }
    rewriter_.copy_outputs();
    return rewriter_.take();
  }

 private:
  /// The factors of a product: through products of full size, which would otherwise be stored or computed as they are,
  /// and through those that nobody else reads.
  std::vector<NodeId> factors_of(NodeId id) const {
    const size_t full = from_.node(id).type.dims.size();
    std::vector<NodeId> factors, stack{id};
    while (!stack.empty()) {
      const NodeId current = stack.back();
      stack.pop_back();
      const Node& n = from_.node(current);
      const bool opened =
          n.op == Op::Mul && (current == id || n.type.dims.size() == full || users_[current.index].size() == 1);
      if (opened && factors.size() + stack.size() < kMostFactors)
        stack.insert(stack.end(), n.operands.begin(), n.operands.end());
      else
        factors.push_back(rewriter_.mapped(current));
    }
    std::sort(factors.begin(), factors.end());
    return factors;
  }

  const Dims& dims_of(NodeId now) const { return rewriter_.to.node(now).type.dims; }

  /// Nothing to gain when all factors vary along the same dimensions.
  bool all_alike(const std::vector<NodeId>& factors) const {
    return std::all_of(factors.begin(), factors.end(), [&](NodeId f) {
      return dims_of(f).size() == dims_of(factors[0]).size() &&
             common(dims_of(f), dims_of(factors[0])).size() == dims_of(f).size();
    });
  }

  /// One product of all factors: first those whose product is small, and of those that make it large the large ones, so
  /// that sums which differ in a small factor share the rest.
  NodeId multiply(Builder& b, std::vector<NodeId> factors) const {
    while (factors.size() > 1) {
      size_t best_i = 0, best_j = 1;
      std::pair<size_t, size_t> best{SIZE_MAX, 0};  // dims of the product; minus those of the factors
      for (size_t i = 0; i < factors.size(); ++i)
        for (size_t j = i + 1; j < factors.size(); ++j) {
          const size_t both = dims_of(factors[i]).size() + dims_of(factors[j]).size();
          const std::pair rank{joined(dims_of(factors[i]), dims_of(factors[j])).size(), SIZE_MAX - both};
          if (rank < best) std::tie(best, best_i, best_j) = std::tuple(rank, i, j);
        }
      const NodeId pair = b.op(Op::Mul, {factors[best_i], factors[best_j]});
      factors.erase(factors.begin() + static_cast<std::ptrdiff_t>(best_j));
      factors[best_i] = pair;
    }
    return factors[0];
  }

  Builder builder_for(const Node& n) {
    Builder b(rewriter_.to);
    b.location = n.location;
    b.hint = n.name;
    return b;
  }

  NodeId product(NodeId id) {
    const Node& n = from_.node(id);
    const std::vector<NodeId> factors = factors_of(id);
    if (factors.size() < 3 || all_alike(factors)) return {};
    Builder b = builder_for(n);
    const NodeId now = multiply(b, factors);
    return rewriter_.to.node(now).type == n.type ? now : NodeId{};
  }

  NodeId sum(NodeId id) {
    const Node& n = from_.node(id);
    if (from_.node(n.operands[0]).op != Op::Mul) return {};
    std::vector<NodeId> inside, outside;
    Dims covered;
    for (NodeId f : factors_of(n.operands[0])) {
      const bool varies = !common(dims_of(f), n.attrs.dims).empty();
      (varies ? inside : outside).push_back(f);
      if (varies) covered = joined(covered, dims_of(f));
    }
    if (outside.empty() || common(n.attrs.dims, covered).size() != n.attrs.dims.size()) return {};
    Builder b = builder_for(n);
    const NodeId summed = b.sum(multiply(b, inside), n.attrs.dims);
    const NodeId factor = multiply(b, outside);
    for (const auto& [x, y] : {std::pair(factor, summed), std::pair(summed, factor)}) {
      const NodeId now = b.op(Op::Mul, {x, y});
      if (rewriter_.to.node(now).type == n.type) return now;
    }
    return {};
  }

  Rewriter rewriter_;
  const Graph& from_;
  std::vector<std::vector<NodeId>> users_;
};

}  // namespace

Graph regroup(const Graph& graph) { return Regrouper(graph).run(); }

}  // namespace mambac
