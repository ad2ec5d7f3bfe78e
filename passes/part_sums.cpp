#include "passes/part_sums.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "ir/dims.h"
#include "passes/contraction.h"
#include "passes/fuser.h"
#include "passes/rewrite.h"

namespace mambac {

namespace {

constexpr const char* kParts = ".parts.";  // in the name of a dimension that counts parts; no model's has it

/// Channels of a part: 16 neighbours of a row of weights are whole sectors of memory (32 bytes) in every element type.
/// More where there would be too many parts, and half where that is all that divides the channels.
constexpr int64_t kPartSizes[] = {16, 32, 64, 8};
/// Parts of a value, which one thread of the reader adds up, some 64 of them on their way at once.
constexpr int64_t kMostTerms = 128;

bool holds(const std::vector<Member>& members, NodeId id) {
  return std::any_of(members.begin(), members.end(), [&](const Member& m) { return m.node == id; });
}

int64_t part_size(int64_t channels, int64_t results) {
  for (int64_t size : kPartSizes)
    if (channels % size == 0 && channels / size <= kMostTerms && channels / size * results <= kMostParts) return size;
  return 0;
}

/// Finds the sums that may be cut: projections, by a weight, of what is made row by row from the result of a product.
class SumFinder {
 public:
  explicit SumFinder(const Graph& graph) : graph_(graph) {}

  std::set<NodeId> run() const {
    std::set<NodeId> found;
    for (uint32_t i = 0; i < graph_.size(); ++i)
      if (is_divisible({i})) found.insert({i});
    return found;
  }

 private:
  bool is_divisible(NodeId id) const {
    const Node& n = graph_.node(id);
    if (n.op != Op::Dot || n.attrs.dims.size() != 1 || graph_.dim(n.attrs.dims[0]).is_free()) return false;
    const DimId d = n.attrs.dims[0];
    int64_t results = 1;
    for (DimId kept : static_dims(graph_, n.type)) results *= graph_.dim(kept).size;
    if (part_size(graph_.dim(d).size, results) == 0) return false;
    for (size_t side : {0, 1}) {
      const NodeId values = n.operands[side], weight = n.operands[1 - side];
      const bool is_weight = static_dims(graph_, graph_.node(weight).type) == graph_.node(weight).type.dims;
      if (is_weight && static_dims(graph_, graph_.node(values).type) == std::vector{d}) return is_row_by_row(values, d);
    }
    return false;
  }

  /// Whether no other row is needed for a row of the value, and each has a sum of its own behind it.
  bool is_row_by_row(NodeId value, DimId rows) const {
    std::vector<NodeId> stack{value};
    std::set<NodeId> seen;
    bool any_sum = false;
    while (!stack.empty()) {
      const Node& n = graph_.node(stack.back());
      stack.pop_back();
      if (contains(reduced_dims(n), rows) || is_join(n)) return false;
      any_sum |= !reduced_dims(n).empty();
      for (NodeId o : n.operands)
        if (o.present() && graph_.node(o).type.has(rows) && seen.insert(o).second) stack.push_back(o);
    }
    return any_sum;
  }

  const Graph& graph_;
};

/// Writes dot<D>(x, w) as sum<P>(part_dot<D, P>(x, w)). A cut of the result becomes one of the parts, which lie in
/// memory, so that no reader adds up what it does not need.
class SumCutter {
 public:
  SumCutter(const Graph& graph, const std::set<NodeId>& sums)
      : sums_(sums), rewriter_(graph), build_(rewriter_.to), users_(users_of(graph)), outputs_(output_nodes(graph)) {}

  Graph run() {
    for (uint32_t i = 0; i < rewriter_.from.size(); ++i) {
      const NodeId id{i};
      const Node& n = rewriter_.from.node(id);
      if (sums_.count(id)) {
        cut(id);
        const bool whole = outputs_[i] || std::any_of(users_[i].begin(), users_[i].end(),
                                                      [&](NodeId user) { return !is_view(rewriter_.from, user); });
        if (whole) rewriter_.map(id, sum_of(id, parts_.at(id), id));
      } else if (is_view(rewriter_.from, id) && sums_.count(n.operands[0])) {
        build_.hint = n.name + ".parts";
        rewriter_.map(id, sum_of(n.operands[0], build_.op(n.op, {parts_.at(n.operands[0])}, n.attrs), id));
      } else {
        rewriter_.copy(id);
      }
    }
    rewriter_.copy_outputs();
    return rewriter_.take();
  }

 private:
  void cut(NodeId id) {
    const Node& n = rewriter_.from.node(id);
    const Dim& whole = rewriter_.from.dim(n.attrs.dims[0]);
    int64_t results = 1;
    for (DimId kept : static_dims(rewriter_.from, n.type)) results *= rewriter_.from.dim(kept).size;
    const int64_t count = whole.size / part_size(whole.size, results);
    const std::string name = fmt::format("{}{}{}", whole.name, kParts, count);
    const std::optional<DimId> known = rewriter_.to.find_dim(name);
    const DimId parts = known ? *known : rewriter_.to.add_dim(name, count);
    build_.location = n.location;
    build_.hint = n.name + ".parts";
    parts_[id] = build_.op(Op::PartDot, {rewriter_.mapped(n.operands[0]), rewriter_.mapped(n.operands[1])},
                           {.dims = {n.attrs.dims[0], parts}});
  }

  /// The sum over the parts, in the place of a node that is the sum or a cut of it. It is f32, as what computes takes
  /// any type; what only moves values keeps theirs.
  NodeId sum_of(NodeId sum, NodeId parts, NodeId replaced) {
    const Node& wanted = rewriter_.from.node(replaced);
    const DimId dim = rewriter_.to.node(parts_.at(sum)).attrs.dims[1];
    build_.location = wanted.location;
    build_.hint = wanted.name;
    const NodeId whole = build_.sum(parts, {dim});
    const bool moved = outputs_[replaced.index] ||
                       std::any_of(users_[replaced.index].begin(), users_[replaced.index].end(), [&](NodeId user) {
                         return class_of(rewriter_.from.node(user).op) == OpClass::Layout;
                       });
    return moved && wanted.type.dtype != DType::f32 ? build_.cast(whole, wanted.type.dtype) : whole;
  }

  const std::set<NodeId>& sums_;
  Rewriter rewriter_;
  Builder build_;
  const std::vector<std::vector<NodeId>> users_;
  const std::vector<bool> outputs_;
  std::map<NodeId, NodeId> parts_;
};

/// Whether the parts are left where their terms are made, and no kernel only adds them up.
bool saves_a_kernel(const Graph& fused, const std::string& name) {
  const std::optional<NodeId> parts = fused.find(name);
  check(parts.has_value(), "fuse: a sum in parts was lost");
  const Node& left = fused.node(*parts);
  const bool beside_terms = std::any_of(left.operands.begin(), left.operands.end(),
                                        [&](NodeId o) { return fused.node(o).kernel == left.kernel; });
  if (!beside_terms) return false;
  std::set<int> adding, doing_more;
  for (const Node& n : fused.nodes()) {
    const bool adds_up = n.op == Op::Sum && contains(n.attrs.dims, left.attrs.dims[1]);
    if (adds_up || n.op != Op::Cast) (adds_up ? adding : doing_more).insert(n.kernel);
  }
  return std::includes(doing_more.begin(), doing_more.end(), adding.begin(), adding.end());
}

}  // namespace

std::optional<Graph> fuse_in_parts(const Graph& prepared, const Graph& fused, const FuseOptions& options,
                                   Remarks& remarks, std::vector<Apart>* apart) {
  for (std::set<NodeId> sums = SumFinder(prepared).run(); !sums.empty();) {
    Remarks found;
    const Graph cut = SumCutter(prepared, sums).run();
    Fuser fuser(cut, options, found);
    Graph result = fuser.run();
    const size_t refused =
        std::erase_if(sums, [&](NodeId id) { return !saves_a_kernel(result, prepared.node(id).name + ".parts"); });
    if (refused > 0) continue;
    if (result.kernels.size() >= fused.kernels.size()) break;
    remarks = std::move(found);
    if (apart) *apart = fuser.apart();
    return result;
  }
  return std::nullopt;
}

bool leaves_parts(const Graph& graph, const std::vector<Member>& members, NodeId id) {
  const Node& n = graph.node(id);
  return n.op == Op::PartDot &&
         std::any_of(n.operands.begin(), n.operands.end(), [&](NodeId o) { return holds(members, o); });
}

bool parts_of_rows(const Graph& graph, const KernelGroup& group, const std::vector<Member>& members, NodeId id,
                   Why* why) {
  const Node& n = graph.node(id);
  const std::vector<DimId>& outer = group.outer;
  const bool rows = !outer.empty() && outer.back() == n.attrs.dims[0];
  const bool one_by_one = std::all_of(n.operands.begin(), n.operands.end(), [&](NodeId o) {
    const std::vector<DimId>& dims = graph.node(o).type.dims;
    return std::all_of(dims.begin(), dims.end(), [&](DimId d) {
      const bool looped = d == group.lane || contains(group.inner, d);
      return contains(outer, d) || (!looped && !holds(members, o));
    });
  });
  const bool alike = std::all_of(members.begin(), members.end(), [&](const Member& m) {
    const Node& other = graph.node(m.node);
    return other.op != Op::PartDot || other.attrs.dims == n.attrs.dims;
  });
  if (rows && one_by_one && alike) return true;
  *why = Reason{ReasonCode::OtherRows, fmt::format("{} is no sum over rows", n.name)};
  return false;
}

DimId parts_added_by(const Graph& fused, int kernel) {
  std::set<DimId> parts;
  for (const Node& n : fused.nodes())
    if (n.op == Op::PartDot) parts.insert(n.attrs.dims[1]);
  // In the graph of a kernel alone (kernel_alone.h) an input stands for the parts.
  for (const Node& n : fused.nodes())
    for (DimId d : n.type.dims)
      if (n.op == Op::Input && fused.dim(d).name.find(kParts) != std::string::npos) parts.insert(d);
  for (const Node& n : fused.nodes())
    if (n.kernel == kernel && n.op == Op::Sum && parts.count(n.attrs.dims[0])) return n.attrs.dims[0];
  return {};
}

}  // namespace mambac
