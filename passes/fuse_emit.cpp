#include <fmt/format.h>

#include <algorithm>
#include <queue>

#include "passes/fuser.h"
#include "passes/rewrite.h"

namespace mambac {

/// Groups in an order in which all they read exists; earlier nodes first.
std::vector<int> Fuser::unit_order() const {
  const int count = static_cast<int>(groups_.size());
  std::vector<std::set<int>> before(count), after(count);
  std::vector<int> missing(count, 0);
  std::vector<uint32_t> rank(count, 0);
  for (int g = 0; g < count; ++g) {
    if (!groups_[g].alive) continue;
    before[g] = dependencies(g);
    for (const Member& m : groups_[g].members)
      if (home_[m.node.index] == g) rank[g] = std::max(rank[g], m.node.index);
  }
  for (int g = 0; g < count; ++g)
    for (int b : before[g]) {
      after[b].insert(g);
      ++missing[g];
    }
  std::priority_queue<std::pair<uint32_t, int>, std::vector<std::pair<uint32_t, int>>, std::greater<>> ready;
  for (int g = 0; g < count; ++g)
    if (groups_[g].alive && missing[g] == 0) ready.push({rank[g], g});
  std::vector<int> order;
  while (!ready.empty()) {
    const int g = ready.top().second;
    ready.pop();
    order.push_back(g);
    for (int a : after[g])
      if (--missing[a] == 0) ready.push({rank[a], a});
  }
  const auto alive = std::count_if(groups_.begin(), groups_.end(), [](const FusedGroup& g) { return g.alive; });
  check(static_cast<int64_t>(order.size()) == alive, "fuse: groups depend on each other in a circle");
  return order;
}

void Fuser::name_kernel(KernelGroup& group, const std::vector<Member>& members, int number) {
  std::string text = group.kind == KernelGroup::walk ? (group.reverse ? "rwalk" : "walk") : "rows";
  std::string last;
  for (const Member& m : members) {
    const Op op = node(m.node).op;
    const std::string word(name_of(op));
    const bool telling = !is_pointwise(op) || info(op).exponentials > 0 || members.size() <= 3;
    if (!telling || word == last || op == Op::At || op == Op::Broadcast || text.size() > 60) continue;
    text += "_" + word;
    last = word;
  }
  group.name = fmt::format("k{}_{}", number, text);
}

NodeId Fuser::chunk_starts(NodeId id) {
  auto found = chunk_nodes_.find(state_source(id).index);
  check(found != chunk_nodes_.end(), "fuse: a resumed recurrence has no stored states");
  return found->second;
}

/// The new node of a value as seen from a group (-1: from memory).
NodeId Fuser::emit_value(int group, NodeId id) {
  if (!id.present()) return id;
  if (group >= 0) {
    auto own = emitted_.find({group, id.index});
    if (own != emitted_.end()) return own->second;
  }
  const int home = home_[id.index];
  const std::pair<int, uint32_t> key{home >= 0 ? home : -1, id.index};
  auto found = emitted_.find(key);
  if (found != emitted_.end()) return found->second;
  check(home < 0, "fuse: a value is read before it is computed");
  Node copy = node(id);  // a source, a free view or a join
  for (NodeId& o : copy.operands) o = emit_value(-1, o);
  copy.kernel = -1;
  return emitted_[key] = out_.append(std::move(copy));
}

NodeId Fuser::emit_member(int g, const Member& member) {
  const Node& original = node(member.node);
  Node copy = original;
  const int start = operand_index(copy.op, "start"), resume = operand_index(copy.op, "resume");
  const bool restarted = restarts(member, groups_[g].members);
  for (size_t i = 0; i < copy.operands.size(); ++i) {
    if (restarted && static_cast<int>(i) == start)
      copy.operands[i] = {};
    else
      copy.operands[i] = emit_value(groups_[g].library ? -1 : g, original.operands[i]);
  }
  if (restarted) copy.operands[resume] = chunk_starts(member.node);
  return emitted_[{g, member.node.index}] = out_.append(std::move(copy));
}

void Fuser::emit_unit(int g) {
  const FusedGroup& group = groups_[g];
  // Operands from outside first, so that a kernel's nodes stay together.
  for (const Member& m : group.members)
    for (NodeId o : operands_of(m, group.members))
      if (group.library || !holds(group.members, o)) emit_value(group.library ? -1 : g, o);
  const int number = static_cast<int>(out_.kernels.size());
  KernelGroup kernel;
  if (group.library) {
    kernel.kind = KernelGroup::library;
    kernel.name = fmt::format("k{}_{}", number, name_of(node(group.members[0].node).op));
  } else {
    Why why;
    auto described = describe(group.members, &why);
    if (!described) throw InternalError(fmt::format("fuse: a group lost its loops: {}", why->text));
    kernel = *described;
    name_kernel(kernel, group.members, number);
  }
  out_.kernels.push_back(kernel);
  for (const Member& m : group.members) {
    const NodeId id = emit_member(g, m);
    out_.node(id).kernel = number;
    if (!chunks_[m.node.index] || home_[m.node.index] != g) continue;
    Node chunk;
    chunk.op = Op::ChunkStarts;
    const int start = operand_index(node(m.node).op, "start");
    chunk.operands = {id, start >= 0 ? out_.node(id).operands[start] : NodeId{}};
    const DimId along = node(m.node).attrs.dims[0];
    chunk.attrs.dims = {along, out_.add_tiles(along, options_.recompute)};
    chunk.name = node(m.node).name + ".chunks";
    chunk.location = node(m.node).location;
    chunk.kernel = number;
    chunk_nodes_[m.node.index] = out_.append(std::move(chunk));
  }
}

Graph Fuser::emit() {
  out_ = empty_like(graph_);
  for (uint32_t i = 0; i < graph_.size(); ++i)  // the interface keeps its order
    if (node(NodeId{i}).op == Op::Input || node(NodeId{i}).op == Op::Param) emit_value(-1, NodeId{i});
  for (int g : unit_order()) emit_unit(g);
  for (const Output& output : graph_.outputs())
    out_.outputs().push_back({output.name, emit_value(-1, output_value(output.value))});
  std::vector<NodeId> image(graph_.size());  // what a kernel makes again is not the value itself
  for (const auto& [where, now] : emitted_)
    if (where.first == home_[where.second]) image[where.second] = now;
  settle_names(out_, graph_, image);
  return std::move(out_);
}

}  // namespace mambac
