#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "ir/dims.h"
#include "passes/group_loops.h"
#include "passes/part_sums.h"

namespace mambac {

namespace {

constexpr int64_t kLongestInner = 64;
/// Products that one row of a kernel may have: more are worth rows of their own.
constexpr int64_t kMostProducts = 4;
/// Elements of what one block of rows may compute again for the sake of fewer kernels.
constexpr int64_t kMostShared = 4096;
/// Elements that inner loops have of a value for each channel of the lanes, so that they stay in registers.
constexpr int64_t kMostInRegisters = 16;

/// The dimensions of a group without a walk.
struct RowsDims {
  std::vector<DimId> domain, fixed;
  std::set<DimId> looped;  // that some member needs a loop over
  bool channels = false;   // lanes are channels: see channels_and_loops
};

/// Static dims over which a member reduces and whose result another member reads; along which one is shifted; and, for
/// few kernels, short ones along which one puts or takes a part of another's value: the rest need not lie in memory.
std::set<DimId> looped_dims(const Graph& graph, const std::vector<Member>& members, bool few_kernels) {
  const std::set<NodeId> inside = nodes_of(members), read = values_read_by(graph, members);
  std::set<DimId> dims;
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    if (read.count(member.node))
      for (DimId d : reduced_dims(node)) dims.insert(d);
    const bool part = node.op == Op::At || node.op == Op::Slice || node.op == Op::Put;
    const bool parts_inside =
        few_kernels && part && inside.count(node.operands[0]) && graph.dim(node.attrs.dims[0]).size <= kLongestInner;
    if (node.op == Op::Shift || parts_inside) dims.insert(node.attrs.dims[0]);
  }
  return dims;
}

/// A dimension that a product sums over, whose elements are neighbours in memory.
DimId product_lane(const Graph& graph, const std::vector<Member>& members) {
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    if (node.op != Op::Dot) continue;
    for (NodeId o : node.operands) {
      const Type& type = graph.node(o).type;
      if (!type.dims.empty() && graph.dim(type.dims.back()).size >= 16 && contains(node.attrs.dims, type.dims.back()) &&
          static_dims(graph, type).size() >= 2)
        return type.dims.back();
    }
  }
  return {};
}

/// One that is not looped over, whose elements are neighbours in memory; of none, the largest.
DimId kept_lane(const Graph& graph, const std::vector<Member>& members, const RowsDims& dims) {
  std::vector<DimId> kept;
  for (DimId d : dims.fixed)
    if (!dims.looped.count(d)) kept.push_back(d);
  if (kept.empty()) return largest(graph, dims.fixed);
  // The last dimension of the widest member is contiguous.
  const Node* widest = nullptr;
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    if (!widest || node.type.dims.size() > widest->type.dims.size()) widest = &node;
  }
  for (auto d = widest->type.dims.rbegin(); d != widest->type.dims.rend(); ++d)
    if (contains(kept, *d) && (graph.dim(*d).size >= 8 || kept.size() == 1)) return *d;
  return largest(graph, kept);
}

/// Where the lanes are the largest dimension that no member sums over or moves along, and all other fixed ones are
/// inner loops; the lane is absent when there is none.
RowsDims channels_and_loops(const Graph& graph, const std::vector<Member>& members, RowsDims dims, DimId* lane) {
  std::set<DimId> used = dims.looped;
  for (const Member& member : members)
    for (DimId d : reduced_dims(graph.node(member.node))) used.insert(d);
  std::vector<DimId> kept;
  for (DimId d : dims.fixed)
    if (!used.count(d)) kept.push_back(d);
  *lane = largest(graph, kept);
  for (DimId d : dims.fixed)
    if (d != *lane) dims.looped.insert(d);
  dims.channels = true;
  return dims;
}

/// What may be the lanes, the best first: a long reduced dimension, else one whose elements are neighbours in memory.
/// For few kernels the latter also where the former leaves no loops that all members can share.
std::vector<DimId> lanes_for(const Graph& graph, const std::vector<Member>& members, const RowsDims& dims,
                             bool few_kernels) {
  if (dims.fixed.empty()) return {DimId{}};
  std::vector<DimId> long_looped, lanes;
  for (DimId d : dims.fixed)
    if (dims.looped.count(d) && graph.dim(d).size > kLongestInner) long_looped.push_back(d);
  const DimId summed = product_lane(graph, members);
  if (summed != DimId{})
    lanes.push_back(summed);
  else if (!long_looped.empty())
    lanes.push_back(largest(graph, long_looped));
  if (lanes.empty() || few_kernels) lanes.push_back(kept_lane(graph, members, dims));
  return lanes;
}

/// Finds the loops for one choice of lanes.
class RowsGroup {
 public:
  RowsGroup(const Graph& graph, const std::vector<Member>& members, const RowsDims& dims, bool few_kernels, Why* why)
      : graph_(graph), members_(members), dims_(dims), few_kernels_(few_kernels), why_(*why) {}

  std::optional<KernelGroup> with_lane(DimId lane) {
    group_ = {};
    group_.kind = KernelGroup::rows;
    group_.lane = lane;
    if (!sort_dims()) return std::nullopt;
    for (const Member& member : members_)
      if (!fits(member.node)) return std::nullopt;
    if (!reads_no_late_value(graph_, group_, members_, &why_)) return std::nullopt;
    return group_;
  }

 private:
  bool sort_dims() {
    for (DimId d : dims_.domain) {
      if (d == group_.lane) continue;
      if (graph_.dim(d).is_free() || !dims_.looped.count(d)) {
        group_.outer.push_back(d);
      } else if (graph_.dim(d).size <= kLongestInner || is_channel_loop(d)) {
        group_.inner.push_back(d);
      } else {
        why_ = Reason{ReasonCode::TwoLongSums, fmt::format("two long reductions, over {} and {}",
                                                           graph_.dim(group_.lane).name, graph_.dim(d).name)};
        return false;
      }
    }
    if (dims_.channels) terms_last();
    return true;
  }

  /// Longer ones: sums of each channel, and what no member has that has the lanes.
  bool is_channel_loop(DimId d) const {
    if (!dims_.channels) return false;
    return graph_.dim(d).size <= kMaxInner || std::none_of(members_.begin(), members_.end(), [&](const Member& m) {
             return touches(graph_, graph_.node(m.node), d) && touches(graph_, graph_.node(m.node), group_.lane);
           });
  }

  /// What is only summed over is the innermost loop, so that several terms are on their way.
  void terms_last() {
    std::stable_partition(group_.inner.begin(), group_.inner.end(), [&](DimId d) {
      return std::any_of(members_.begin(), members_.end(),
                         [&](const Member& m) { return graph_.node(m.node).type.has(d); });
    });
  }

  bool fits(NodeId id) {
    const Node& node = graph_.node(id);
    if (leaves_parts(graph_, members_, id)) return parts_of_rows(graph_, group_, members_, id, &why_);
    if (dims_.channels && !is_for_channels(node)) return false;
    return shares_lanes(node) && (is_repeated_cheaply(node) || is_shared_by_rows(node)) && sums_in_time(node) &&
           moves_inside(graph_, group_, node, &why_);
  }

  /// A channel has few elements, in registers. What lacks the lanes is computed once for a block of them, whose threads
  /// share its elements.
  bool is_for_channels(const Node& node) const {
    int64_t elements = 1;
    const bool lanes = touches(graph_, node, group_.lane);
    for (DimId d : group_.inner)
      if (lanes ? node.type.has(d) : touches(graph_, node, d)) elements *= graph_.dim(d).size;
    return lanes ? node.type.has(group_.lane) && elements <= kMostInRegisters
                 : elements <= (info(node.op).exponentials == 0 ? kMostParts : kMostInRegisters);
  }

  /// Beside a product with its sum in the lanes, what has inner loops is computed one channel at a time: by all lanes
  /// alike, which for few kernels is cheap enough beside a long sum.
  bool shares_lanes(const Node& node) {
    const bool alone = node.op == Op::Dot && contains(node.attrs.dims, group_.lane) && !group_.inner.empty();
    if (alone && !(few_kernels_ && graph_.dim(group_.lane).size > kLongestInner)) {
      why_ = Reason{ReasonCode::MatrixVector,
                    fmt::format("{} is a matrix-vector product, the others have inner loops", node.name)};
      return false;
    }
    int64_t bodies = 1;
    for (DimId d : group_.inner)
      if (touches(graph_, node, d)) bodies *= graph_.dim(d).size;
    const int64_t most = alone ? kMostProducts : dims_.channels ? kMaxInner : kLongestInner;
    const bool once = dims_.channels && !touches(graph_, node, group_.lane);
    if (!few_kernels_ || bodies <= most || once || members_.size() == 1) return true;
    why_ = Reason{ReasonCode::InnerElements, fmt::format("{} has {} elements in inner loops", node.name, bodies)};
    return false;
  }

  /// What lacks outer dimensions is computed again for each of their elements.
  bool is_repeated_cheaply(const Node& node) {
    int64_t repeated = 1;
    bool repeated_free = false;
    for (DimId d : group_.outer) {
      if (touches(graph_, node, d)) continue;
      if (graph_.dim(d).is_free())
        repeated_free = true;
      else
        repeated *= graph_.dim(d).size;
    }
    const bool reduces = !reduced_dims(node).empty();
    const bool cheap = !reduces && info(node.op).exponentials == 0 && node.op != Op::Gather;
    if ((!repeated_free && repeated == 1) || (cheap && repeated <= 64 && !repeated_free) ||
        class_of(node.op) == OpClass::Source || (cheap && node.type.dims.empty()))
      return true;
    why_ = Reason{ReasonCode::Repeated,
                  fmt::format("{} would be computed again for every element of other dimensions", node.name)};
    return false;
  }

  /// What lacks the innermost outer dimension is the same for all rows of a block of it: the statistics of a norm, and
  /// the row that a matrix is multiplied with.
  bool is_shared_by_rows(const Node& node) const {
    if (!few_kernels_ || group_.outer.empty() || node.op == Op::Gather || info(node.op).exponentials > 0) return false;
    const DimId rows = group_.outer.back();
    if (graph_.dim(rows).is_free() || touches(graph_, node, rows)) return false;
    int64_t elements = 1;
    for (DimId d : dims_.domain) {
      const bool has = touches(graph_, node, d);
      if (!has && graph_.dim(d).is_free()) return false;
      if (has && !graph_.dim(d).is_free()) elements *= graph_.dim(d).size;
    }
    return elements <= kMostShared;
  }

  /// A sum over a fixed dimension that is complete only after the kernel takes a kernel of its own to finish; its
  /// reader sums what is stored as well.
  bool sums_in_time(const Node& node) {
    const std::vector<DimId> reduced = reduced_dims(node);
    const bool fixed = std::none_of(reduced.begin(), reduced.end(), [&](DimId d) { return graph_.dim(d).is_free(); });
    if (!few_kernels_ || members_.size() == 1 || !fixed || !is_late(graph_, group_, node)) return true;
    why_ = Reason{ReasonCode::LateValue, fmt::format("{} is complete only after the kernel", node.name)};
    return false;
  }

  const Graph& graph_;
  const std::vector<Member>& members_;
  const RowsDims& dims_;
  const bool few_kernels_;
  Why& why_;
  KernelGroup group_;
};

}  // namespace

std::optional<KernelGroup> describe_rows(const Graph& graph, const std::vector<Member>& members, bool few_kernels,
                                         Why* why) {
  RowsDims dims;
  std::vector<Member> looping;  // the others go through the rows of a block again, by themselves
  for (const Member& member : members)
    if (!leaves_parts(graph, members, member.node)) looping.push_back(member);
  dims.domain = domain_of(graph, looping);
  for (DimId d : dims.domain)
    if (!graph.dim(d).is_free()) dims.fixed.push_back(d);
  dims.looped = looped_dims(graph, looping, few_kernels);
  for (DimId d : dims.looped)
    if (graph.dim(d).is_free()) {
      *why = Reason{ReasonCode::LateValue,
                    fmt::format("the sum over {} is complete only after the kernel", graph.dim(d).name)};
      return std::nullopt;
    }
  RowsGroup rows(graph, members, dims, few_kernels, why);
  for (DimId lane : lanes_for(graph, looping, dims, few_kernels))
    if (std::optional<KernelGroup> group = rows.with_lane(lane)) return group;
  if (!few_kernels) return std::nullopt;
  DimId lane{};
  Why unused;
  const RowsDims channels = channels_and_loops(graph, looping, dims, &lane);
  return lane == DimId{} ? std::nullopt : RowsGroup(graph, members, channels, few_kernels, &unused).with_lane(lane);
}

}  // namespace mambac
