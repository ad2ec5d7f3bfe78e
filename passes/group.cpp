#include "passes/group.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace mambac {

namespace {

bool contains(const std::vector<DimId>& dims, DimId dim) {
  return std::find(dims.begin(), dims.end(), dim) != dims.end();
}

std::vector<DimId> static_dims(const Graph& graph, const Type& type) {
  std::vector<DimId> dims;
  for (DimId d : type.dims)
    if (!graph.dim(d).is_free()) dims.push_back(d);
  return dims;
}

std::vector<DimId> sorted(std::vector<DimId> dims) {
  std::sort(dims.begin(), dims.end());
  return dims;
}

DimId largest(const Graph& graph, const std::vector<DimId>& dims) {
  DimId best{};
  for (DimId d : dims)
    if (best == DimId{} || graph.dim(d).size > graph.dim(best).size) best = d;
  return best;
}

/// All dims that members touch, in order of first appearance, free ones in order of declaration first.
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

/// Static dims over which a member reduces and whose result another member reads.
std::set<DimId> dims_reduced_inside(const Graph& graph, const std::vector<Member>& members) {
  std::set<uint32_t> read;
  for (const Member& member : members)
    for (NodeId o : graph.node(member.node).operands)
      if (o.present()) read.insert(o.index);
  std::set<DimId> dims;
  for (const Member& member : members)
    if (read.count(member.node.index))
      for (DimId d : reduced_dims(graph.node(member.node))) dims.insert(d);
  return dims;
}

bool is_window(const Node& node) {
  return node.op == Op::Window || node.op == Op::Overlap;
}

struct WalkFacts {
  bool any = false;
  DimId along{};
  bool reverse = false;
  DimId lane{};
};

/// The common walk of the directional members; false with a reason when there is none.
bool common_walk(const Graph& graph, const Lanes& lanes, const std::vector<Member>& members, WalkFacts* facts,
                 std::string* why) {
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    if (!is_directional(node.op) || node.op == Op::ChunkStarts) continue;
    const bool reverse = node.op == Op::Overlap ? true : node.attrs.reverse;
    if (!facts->any || member.resumed) {
      if (!facts->any) facts->along = node.attrs.dims[0];
    }
    if (facts->along != node.attrs.dims[0]) {
      *why = fmt::format("{} walks another dimension", node.name);
      return false;
    }
    if (!member.resumed) {
      if (facts->any && facts->reverse != reverse) {
        *why = fmt::format("{} walks the other way", node.name);
        return false;
      }
      facts->any = true;
      facts->reverse = reverse;
    }
    const DimId lane = lanes.of(graph, node.type);
    if (lane == DimId{}) continue;
    if (facts->lane != DimId{} && facts->lane != lane) {
      *why = fmt::format("{} has its channels along {}, the others along {}", node.name, graph.dim(lane).name,
                         graph.dim(facts->lane).name);
      return false;
    }
    facts->lane = lane;
  }
  for (const Member& member : members) {
    const Type& type = graph.node(member.node).type;
    const DimId along = lanes.walked_by(graph, type);
    if (along == DimId{} || (facts->any && facts->along == along)) continue;
    if (facts->any) {
      *why = fmt::format("{} only exists along another walk", graph.node(member.node).name);
      return false;
    }
    facts->any = true;
    facts->along = along;
    if (facts->lane == DimId{}) facts->lane = lanes.of(graph, type);
  }
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    if (!is_window(node) || node.attrs.dims[1] != facts->lane) continue;
    *why = fmt::format("the taps of {} are an inner loop, and the channels of the others", node.name);
    return false;
  }
  return true;
}

/// at, slice and shift inside a kernel look at other indices of inner loops, or at one end of a walk.
bool moves_inside(const Graph& graph, const KernelGroup& group, const Node& node, std::string* why) {
  if (node.op != Op::At && node.op != Op::Slice && node.op != Op::Shift) return true;
  const DimId d = node.attrs.dims[0];
  const bool gathers = node.op == Op::Slice && node.attrs.dims[1] == group.lane;  // lanes from other lanes
  if (contains(group.inner, d) && !gathers) return true;
  if (node.op == Op::At && group.kind == KernelGroup::walk && d == group.along) return true;
  *why = fmt::format("{} moves along {}, which is no inner loop", node.name, graph.dim(d).name);
  return false;
}

std::optional<KernelGroup> describe_walk(const Graph& graph, const WalkFacts& facts, const std::vector<Member>& members,
                                         std::string* why) {
  KernelGroup group;
  group.kind = KernelGroup::walk;
  group.along = facts.along;
  group.reverse = facts.reverse;
  group.lane = facts.lane;
  for (DimId d : domain_of(graph, members)) {
    const Dim& dim = graph.dim(d);
    if (d == group.along || d == group.lane || dim.is_tiles()) continue;
    if (dim.is_free()) {
      group.outer.push_back(d);
    } else if (dim.size <= kMaxInner) {
      group.inner.push_back(d);
    } else {
      *why = fmt::format("dimension {} ({}) is neither walked nor a lane, and too large for an inner loop", dim.name,
                         dim.size);
      return std::nullopt;
    }
  }
  for (const Member& member : members)
    if (!moves_inside(graph, group, graph.node(member.node), why)) return std::nullopt;
  return group;
}

/// Lane of a group without a walk: a long reduced dimension, else one whose elements are neighbours in memory.
DimId rows_lane(const Graph& graph, const std::vector<Member>& members, const std::set<DimId>& reduced,
                const std::vector<DimId>& fixed) {
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    if (node.op != Op::Dot) continue;
    for (NodeId o : node.operands) {
      const Type& type = graph.node(o).type;
      if (!type.dims.empty() && graph.dim(type.dims.back()).size >= 16 &&
          contains(node.attrs.dims, type.dims.back()) && static_dims(graph, type).size() >= 2)
        return type.dims.back();
    }
  }
  std::vector<DimId> long_reduced, kept;
  for (DimId d : fixed) {
    if (!reduced.count(d))
      kept.push_back(d);
    else if (graph.dim(d).size > 64)
      long_reduced.push_back(d);
  }
  if (!long_reduced.empty()) return largest(graph, long_reduced);
  if (kept.empty()) return largest(graph, fixed);
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

std::optional<KernelGroup> describe_rows(const Graph& graph, const std::vector<Member>& members, std::string* why) {
  KernelGroup group;
  group.kind = KernelGroup::rows;
  std::set<DimId> reduced = dims_reduced_inside(graph, members);
  for (const Member& member : members)  // shifted dims are inner loops too
    if (graph.node(member.node).op == Op::Shift) reduced.insert(graph.node(member.node).attrs.dims[0]);
  const std::vector<DimId> domain = domain_of(graph, members);
  std::vector<DimId> fixed;
  for (DimId d : domain)
    if (!graph.dim(d).is_free()) fixed.push_back(d);
  for (DimId d : reduced)
    if (graph.dim(d).is_free()) {
      *why = fmt::format("the sum over {} is complete only after the kernel", graph.dim(d).name);
      return std::nullopt;
    }
  if (!fixed.empty()) group.lane = rows_lane(graph, members, reduced, fixed);
  for (DimId d : domain) {
    if (d == group.lane) continue;
    if (graph.dim(d).is_free() || !reduced.count(d)) {
      group.outer.push_back(d);
    } else if (graph.dim(d).size <= 64) {
      group.inner.push_back(d);
    } else {
      *why = fmt::format("two long reductions, over {} and {}", graph.dim(group.lane).name, graph.dim(d).name);
      return std::nullopt;
    }
  }
  for (const Member& member : members) {  // beside one, the others would be computed one channel at a time
    const Node& node = graph.node(member.node);
    if (node.op != Op::Dot || !contains(node.attrs.dims, group.lane) || group.inner.empty()) continue;
    *why = fmt::format("{} is a matrix-vector product, the others have inner loops", node.name);
    return std::nullopt;
  }
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    int64_t repeated = 1;
    bool repeated_free = false;
    for (DimId d : group.outer) {
      if (touches(graph, node, d)) continue;
      if (graph.dim(d).is_free())
        repeated_free = true;
      else
        repeated *= graph.dim(d).size;
    }
    const bool reduces = !reduced_dims(node).empty();
    const bool cheap = !reduces && info(node.op).exponentials == 0 && node.op != Op::Gather;
    if ((repeated_free || repeated > 1) && !(cheap && repeated <= 64 && !repeated_free) &&
        class_of(node.op) != OpClass::Source && !(cheap && node.type.dims.empty())) {
      *why = fmt::format("{} would be computed again for every element of other dimensions", node.name);
      return std::nullopt;
    }
    if (!moves_inside(graph, group, node, why)) return std::nullopt;
  }
  return group;
}

}  // namespace

std::vector<DimId> reduced_dims(const Node& node) {
  if (class_of(node.op) == OpClass::Reduction || class_of(node.op) == OpClass::Contraction) return node.attrs.dims;
  return {};
}

bool touches(const Graph& graph, const Node& node, DimId dim) {
  if (node.type.has(dim)) return true;
  return std::any_of(node.operands.begin(), node.operands.end(),
                     [&](NodeId o) { return o.present() && graph.node(o).type.has(dim); });
}

Lanes::Lanes(const Graph& graph) {
  for (const Node& node : graph.nodes()) {
    if (is_directional(node.op) && node.op != Op::ChunkStarts && !contains(walked_, node.attrs.dims[0]))
      walked_.push_back(node.attrs.dims[0]);
    if (is_window(node) && !contains(taps_, node.attrs.dims[1])) taps_.push_back(node.attrs.dims[1]);
  }
  for (const Node& node : graph.nodes()) {
    if (!is_window(node)) continue;
    std::vector<DimId> fixed = static_dims(graph, node.type), kept;
    for (DimId d : fixed)
      if (d != node.attrs.dims[1]) kept.push_back(d);
    lanes_.emplace(sorted(fixed), kept.empty() ? DimId{} : preferred(graph, kept));
  }
  for (const Node& node : graph.nodes()) {
    std::vector<DimId> reduced = reduced_dims(node);
    if (node.op == Op::Shift || node.op == Op::At || node.op == Op::Slice) reduced = {node.attrs.dims[0]};
    if (reduced.empty()) continue;
    for (NodeId o : node.operands) {
      const std::vector<DimId> fixed = static_dims(graph, graph.node(o).type);
      if (fixed.size() < 2) continue;
      std::vector<DimId> kept;
      for (DimId d : fixed)
        if (!contains(reduced, d)) kept.push_back(d);
      if (kept.empty() || kept.size() == fixed.size()) continue;
      lanes_.emplace(sorted(fixed), preferred(graph, kept));  // the first reader decides
    }
  }
}

DimId Lanes::of(const Graph& graph, const Type& type) const {
  const std::vector<DimId> fixed = static_dims(graph, type);
  if (fixed.empty()) return {};
  auto found = lanes_.find(sorted(fixed));
  return found != lanes_.end() ? found->second : preferred(graph, fixed);
}

DimId Lanes::preferred(const Graph& graph, const std::vector<DimId>& dims) const {
  std::vector<DimId> channels;
  for (DimId d : dims)
    if (!contains(taps_, d)) channels.push_back(d);
  return largest(graph, channels.empty() ? dims : channels);
}

DimId Lanes::walked_by(const Graph& graph, const Type& type) const {
  if (static_dims(graph, type).size() < 2) return {};
  for (DimId d : type.dims)
    if (contains(walked_, d)) return d;
  return {};
}

std::optional<KernelGroup> describe_group(const Graph& graph, const Lanes& lanes, const std::vector<Member>& members,
                                          std::string* why) {
  WalkFacts facts;
  if (!common_walk(graph, lanes, members, &facts, why)) return std::nullopt;
  std::optional<KernelGroup> group = facts.any ? describe_walk(graph, facts, members, why)
                                               : describe_rows(graph, members, why);
  if (!group && facts.any && members.size() == 1 && !is_directional(graph.node(members[0].node).op))
    group = describe_rows(graph, members, why);  // on its own it need not follow a walk
  if (!group) return std::nullopt;
  std::set<uint32_t> read;
  for (const Member& member : members)
    for (NodeId o : graph.node(member.node).operands)
      if (o.present()) read.insert(o.index);
  for (const Member& member : members) {
    const Node& node = graph.node(member.node);
    if (!is_late(graph, *group, node)) continue;
    if (read.count(member.node.index)) {
      *why = fmt::format("{} is complete only after the kernel", node.name);
      return std::nullopt;
    }
    if (group->kind == KernelGroup::walk && !touches(graph, node, group->along)) {
      *why = fmt::format("{} has no steps along {}", node.name, graph.dim(group->along).name);
      return std::nullopt;
    }
  }
  return group;
}

bool is_late(const Graph& graph, const KernelGroup& group, const Node& node) {
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
