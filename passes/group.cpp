#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "ir/dims.h"
#include "passes/contraction.h"
#include "passes/group_loops.h"

namespace mambac {

namespace {

/// Orders types by what makes the lanes of a walk: those with a lane (taps alone have none) before those without, then
/// by elements per step; of as many, more dimensions are wider.
std::tuple<bool, int64_t, size_t> width_of(const Graph& graph, const Lanes& lanes, const Type& type, DimId along) {
  int64_t size = 1;
  for (DimId d : dims_per_step(graph, type, along)) size *= graph.dim(d).size;
  return {lanes.of(graph, type, along) != DimId{}, size, type.dims.size()};
}

struct WalkFacts {
  bool any = false;
  DimId along{};
  bool reverse = false;
  DimId lane{};
};

/// The direction in which the recurrences among the members go; false with a reason when they do not go together.
bool common_direction(const Graph& graph, const std::vector<Member>& members, WalkFacts* facts, Why* why) {
  bool directed = false;
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    if (!is_recurrence(node)) continue;
    if (!facts->any) facts->along = node.attrs.dims[0];
    facts->any = true;
    if (facts->along != node.attrs.dims[0]) {
      *why = Reason{ReasonCode::OtherDimension,
                    fmt::format("{} walks along {}, the others along {}", node.name, graph.dim(node.attrs.dims[0]).name,
                                graph.dim(facts->along).name)};
      return false;
    }
    if (member.resumed) continue;  // runs against the walk
    const bool reverse = node.op == Op::Overlap || node.attrs.reverse;
    if (directed && facts->reverse != reverse) {
      *why = Reason{ReasonCode::OtherDirection, fmt::format("{} walks the other way", node.name)};
      return false;
    }
    directed = true;
    facts->reverse = reverse;
  }
  return true;
}

/// The walk of wide values without a recurrence among them: a dimension that they can all walk, if there is one.
void find_undirected(const Graph& graph, const Lanes& lanes, const std::vector<Member>& members, WalkFacts* facts) {
  for (const Member& member : members)
    for (DimId d : lanes.walks_of(graph, member.node)) {
      const bool common =
          std::all_of(members.begin(), members.end(), [&](const Member& m) { return lanes.can_walk(m.node, d); });
      if (common || !facts->any) facts->along = d;
      facts->any = true;
      if (common) return;
    }
}

/// Where no recurrence has channels: the innermost free dimension, unless it is walked or what is walked lies within
/// it, being fixed. The elements of any other are far apart in memory, and one number at a time is faster.
DimId free_lane(const Graph& graph, const Type& type, DimId along) {
  if (!graph.dim(along).is_free()) return {};
  const auto inmost =
      std::find_if(type.dims.rbegin(), type.dims.rend(), [&](DimId d) { return graph.dim(d).is_free(); });
  return inmost == type.dims.rend() || *inmost == along ? DimId{} : *inmost;
}

/// The common walk of the members, if any needs one; false with a reason when they need several. The lane is that of
/// the widest that has one, or a free dimension when none has. A recurrence without that lane may come along when all
/// its dimensions are loops of the widest: it is computed once for all lanes.
bool common_walk(const Graph& graph, const Lanes& lanes, const std::vector<Member>& members, WalkFacts* facts,
                 Why* why) {
  if (!common_direction(graph, members, facts, why)) return false;
  const bool directed = facts->any;
  if (!directed) find_undirected(graph, lanes, members, facts);
  const DimId along = facts->along;
  const Type* widest = nullptr;
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    if (directed ? !is_recurrence(node) : lanes.walks_of(graph, member.node).empty()) continue;
    if (!widest || width_of(graph, lanes, node.type, along) > width_of(graph, lanes, *widest, along))
      widest = &node.type;
  }
  if (!widest) return true;
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    if (is_recurrence(node) || lanes.can_walk(member.node, along)) continue;
    *why = Reason{ReasonCode::OtherWalk, fmt::format("{} only exists along another walk", node.name)};
    return false;
  }
  facts->lane = lanes.of(graph, *widest, along);
  if (facts->lane == DimId{}) facts->lane = free_lane(graph, *widest, along);
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    if (!is_recurrence(node)) continue;
    const DimId lane = lanes.of(graph, node.type, along);
    if (lane == DimId{} || lane == facts->lane) continue;
    std::vector<DimId> fixed = dims_per_step(graph, node.type, along);
    if (is_window(node)) fixed = without(fixed, {node.attrs.dims[1]});  // taps are no channels
    if (std::all_of(fixed.begin(), fixed.end(), [&](DimId d) { return widest->has(d); })) continue;
    *why = Reason{ReasonCode::OtherChannels, fmt::format("{} has its channels along {}, the others along {}", node.name,
                                                         graph.dim(lane).name, graph.dim(facts->lane).name)};
    return false;
  }
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    if (!is_window(node) || node.attrs.dims[1] != facts->lane) continue;
    *why = Reason{ReasonCode::TapsAreChannels,
                  fmt::format("the taps of {} are an inner loop, and the channels of the others", node.name)};
    return false;
  }
  return true;
}

/// at, slice and the like, which a loop within a lane serves.
bool moves_along(const Node& node, DimId dim) {
  const bool moves = node.op == Op::At || node.op == Op::Slice || node.op == Op::Shift || node.op == Op::Put;
  return (moves || is_window(node)) && contains(node.attrs.dims, dim);
}

/// A static dimension that is as good as a batch dimension (heads): no member moves along it or sums over it at every
/// step, what the kernel streams has it, and what lacks it costs little when it is computed for each of its elements.
bool is_independent(const Graph& graph, const WalkFacts& facts, const std::vector<Member>& members, DimId dim) {
  std::set<NodeId> inside;
  for (const Member& member : members) inside.insert(member.node);
  auto repeated = [&](NodeId id) { return graph.node(id).type.has(facts.along) && !graph.node(id).type.has(dim); };
  return std::all_of(members.begin(), members.end(), [&](const Member& member) {
    const Node& node = graph.node(member.node);
    const bool sums = contains(reduced_dims(node), dim);
    if (moves_along(node, dim) || (sums && node.type.has(facts.along))) return false;
    for (NodeId o : node.operands)
      if (o.present() && !inside.count(o) && repeated(o) && graph.node(o).type.has(facts.lane)) return false;
    if (sums || !repeated(member.node)) return true;
    return is_pointwise(node.op) && info(node.op).exponentials == 0 && !node.type.has(facts.lane);
  });
}

/// A dimension too long for a loop within a lane can still be an outer one, when it is only summed over at the end.
/// Such a sum leaves the kernel in as many pieces as the dimension has elements, so it must not be one of every lane
/// and step.
bool may_be_outer(const Graph& graph, const WalkFacts& facts, const std::vector<Member>& members, DimId dim) {
  return std::none_of(members.begin(), members.end(), [&](const Member& member) {
    const Node& node = graph.node(member.node);
    const bool large = node.type.has(facts.along) && node.type.has(facts.lane);
    return moves_along(node, dim) || (contains(reduced_dims(node), dim) && large);
  });
}

/// Whether no member walks with `starts` that members compute.
bool reads_starts_in_memory(const Graph& graph, const std::vector<Member>& members, Why* why) {
  const std::set<NodeId> computed = nodes_of(members);
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    for (NodeId o = operand(node, "starts"); o.present();
         o = is_view(graph, o) ? graph.node(o).operands[0] : NodeId{}) {
      if (!computed.count(o)) continue;
      *why = Reason{ReasonCode::Neighbours,
                    fmt::format("{} reads {} at neighbouring steps, too", node.name, graph.node(o).name)};
      return false;
    }
  }
  return true;
}

std::optional<KernelGroup> describe_walk(const Graph& graph, const WalkFacts& facts, const std::vector<Member>& members,
                                         Why* why) {
  KernelGroup group;
  group.kind = KernelGroup::walk;
  group.along = facts.along;
  group.reverse = facts.reverse;
  group.lane = facts.lane;
  for (DimId d : domain_of(graph, members)) {
    const Dim& dim = graph.dim(d);
    if (d == group.along || d == group.lane || dim.is_tiles()) continue;
    const bool too_long = dim.size > kMaxInner;
    if (dim.is_free() || is_independent(graph, facts, members, d) ||
        (too_long && may_be_outer(graph, facts, members, d))) {
      group.outer.push_back(d);
    } else if (!too_long) {
      group.inner.push_back(d);
    } else {
      *why = Reason{ReasonCode::TooLong,
                    fmt::format("dimension {} ({}) is neither walked nor a lane, and too large for an inner loop",
                                dim.name, dim.size)};
      return std::nullopt;
    }
  }
  for (const Member& member : members)
    if (!moves_inside(graph, group, graph.node(member.node), why)) return std::nullopt;
  return group;
}

}  // namespace

std::vector<DimId> domain_of(const Graph& graph, const std::vector<Member>& members) {
  std::vector<DimId> free, fixed;
  auto add = [&](const Type& type) {
    for (DimId d : type.dims) {
      auto& list = graph.dim(d).is_free() ? free : fixed;
      if (!contains(list, d)) list.push_back(d);
    }
  };
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    for (NodeId o : node.operands)
      if (o.present()) add(graph.node(o).type);
    add(node.type);
  }
  std::sort(free.begin(), free.end());
  free.insert(free.end(), fixed.begin(), fixed.end());
  return free;
}

std::set<NodeId> nodes_of(const std::vector<Member>& members) {
  std::set<NodeId> nodes;
  for (const Member& member : members) nodes.insert(member.node);
  return nodes;
}

std::set<NodeId> values_read_by(const Graph& graph, const std::vector<Member>& members) {
  std::set<NodeId> values;
  for (const Member& member : members)
    for (NodeId o : graph.node(member.node).operands)
      if (o.present()) values.insert(o);
  return values;
}

bool moves_inside(const Graph& graph, const KernelGroup& group, const Node& node, Why* why) {
  if (node.op != Op::At && node.op != Op::Slice && node.op != Op::Shift) return true;
  const DimId d = node.attrs.dims[0];
  const bool gathers = node.op == Op::Slice && node.attrs.dims[1] == group.lane;  // lanes from other lanes
  if (contains(group.inner, d) && !gathers) return true;
  if (node.op == Op::At && group.kind == KernelGroup::walk && d == group.along) return true;
  *why = Reason{ReasonCode::MovesAlong,
                fmt::format("{} moves along {}, which is no inner loop", node.name, graph.dim(d).name)};
  return false;
}

bool reads_no_late_value(const Graph& graph, const KernelGroup& group, const std::vector<Member>& members, Why* why) {
  const std::set<NodeId> read = values_read_by(graph, members);
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    if (!read.count(member.node) || !is_late(graph, group, node)) continue;
    *why = Reason{ReasonCode::LateValue, fmt::format("{} is complete only after the kernel", node.name)};
    return false;
  }
  return true;
}

bool touches(const Graph& graph, const Node& node, DimId dim) {
  if (node.type.has(dim)) return true;
  return std::any_of(node.operands.begin(), node.operands.end(),
                     [&](NodeId o) { return o.present() && graph.node(o).type.has(dim); });
}

std::optional<KernelGroup> describe_group(const Graph& graph, const Lanes& lanes, const std::vector<Member>& members,
                                          bool few_kernels, Why* why) {
  WalkFacts facts;
  if (!common_walk(graph, lanes, members, &facts, why)) return std::nullopt;
  if (!facts.any) return describe_rows(graph, members, few_kernels, why);
  std::optional<KernelGroup> group = describe_walk(graph, facts, members, why);
  if (!group && members.size() == 1 && !is_directional(graph.node(members[0].node).op))
    return describe_rows(graph, members, few_kernels, why);  // on its own it need not follow a walk
  if (!group || !reads_no_late_value(graph, *group, members, why)) return std::nullopt;
  if (!reads_starts_in_memory(graph, members, why)) return std::nullopt;
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    if (!is_late(graph, *group, node) || touches(graph, node, group->along)) continue;
    *why =
        Reason{ReasonCode::NoSteps, fmt::format("{} has no steps along {}", node.name, graph.dim(group->along).name)};
    return std::nullopt;
  }
  return group;
}

bool is_late(const Graph& graph, const KernelGroup& group, const Node& node) {
  if (node.op == Op::PartDot) return true;
  auto outside = [&](DimId d) {
    if (graph.dim(d).is_free()) return true;
    if (contains(group.inner, d)) return false;
    return !(group.kind == KernelGroup::rows && d == group.lane);
  };
  const std::vector<DimId> reduced = reduced_dims(node);
  if (std::any_of(reduced.begin(), reduced.end(), outside)) return true;
  if (node.op == Op::At) return group.kind == KernelGroup::walk && node.attrs.dims[0] == group.along;
  return node.op == Op::ChunkStarts;
}

}  // namespace mambac
