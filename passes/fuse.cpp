#include "passes/fuse.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>

#include "passes/contraction.h"
#include "passes/fuse_prepare.h"
#include "passes/fuser.h"
#include "passes/part_sums.h"

namespace mambac {

namespace {

constexpr int kMaxRematerialised = 16;  // nodes computed again in place of one load

}  // namespace

Graph Fuser::run() {
  classify();
  find_copies();
  for (NodeId id : visiting_order()) place(id);
  drop_unneeded();
  while (sink() || unite()) drop_unneeded();
  write_remarks();
  return emit();
}

void Fuser::classify() {
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    const NodeId id{i};
    const Node& n = node(id);
    library_[i] = n.op == Op::Gather || n.op == Op::Scatter ||
                  (options_.library_contractions && widths_.large(id));
    wide_[i] = widths_.wide(id);
  }
  for (uint32_t i = 0; i < graph_.size(); ++i)  // such sums exist only in memory
    if (wide_[i] && ends_group(NodeId{i})) wide_[i] = false;
  keep_compared_values();
  for (uint32_t i = 0; i < graph_.size(); ++i)
    if (library_[i] || is_join(node(NodeId{i})))
      for (NodeId o : node(NodeId{i}).operands) in_memory_[view_root(o).index] = true;
  for (const Output& output : graph_.outputs()) in_memory_[view_root(output.value).index] = true;
  for (uint32_t i = 0; i < graph_.size(); ++i)
    if (is_after(NodeId{i}))
      for (NodeId o : node(NodeId{i}).operands)
        store(view_root(o), NodeId{i}, {ReasonCode::Waits, "it is read, or waited for, in memory"});
  for (const Node& n : graph_.nodes()) {  // walks look at neighbouring steps of `starts`
    const NodeId starts = operand(n, "starts");
    if (starts.present()) in_memory_[view_root(starts).index] = true;
  }
}

void Fuser::keep_compared_values() {
  for (const Node& n : graph_.nodes()) {
    if (n.op != Op::Eq) continue;
    for (size_t side : {0, 1}) {
      const NodeId x = n.operands[side];
      NodeId most = n.operands[1 - side];
      while (node(most).op == Op::Stop || node(most).op == Op::Broadcast) most = node(most).operands[0];
      if (node(most).op != Op::Amax || node(most).operands[0] != x) continue;
      if (wide_[x.index] && !ends_group(most)) {
        wide_[most.index] = true;
      } else {
        const auto index = static_cast<uint32_t>(&n - graph_.nodes().data());
        store(x, NodeId{index}, {ReasonCode::Compared, "it is compared with its largest value"});
      }
    }
  }
}

void Fuser::find_copies() {
  std::vector<int> uses(graph_.size(), 0);
  for (const Node& n : graph_.nodes())
    for (NodeId o : n.operands)
      if (o.present()) uses[o.index] += is_join(n) ? 2 : 1;
  for (const Output& output : graph_.outputs()) ++uses[output.value.index];
  std::set<NodeId> taken;
  for (const Output& output : graph_.outputs()) {
    const Node& n = node(output.value);
    if (n.op != Op::Stop || uses[output.value.index] != 1 || !is_view(graph_, n.operands[0])) continue;
    if (node(n.operands[0]).type == n.type && taken.insert(n.operands[0]).second) copies_.insert(output.value);
  }
}

NodeId Fuser::output_value(NodeId output) const {
  if (!copies_.count(output) || home_[output.index] >= 0) return output;
  return node(output).operands[0];
}

NodeId Fuser::view_root(NodeId id) const {
  while (is_view(graph_, id) && home_[id.index] < 0 && !is_after(id)) id = node(id).operands[0];
  return id;
}

std::vector<NodeId> Fuser::visiting_order() const {
  std::vector<int> missing(graph_.size(), 0);
  std::vector<std::vector<uint32_t>> readers(graph_.size());
  for (uint32_t i = 0; i < graph_.size(); ++i)
    for (NodeId o : node(NodeId{i}).operands)
      if (o.present()) {
        ++missing[i];
        readers[o.index].push_back(i);
      }
  // What only feeds such sums waits with them.
  std::vector<bool> waits(graph_.size(), false);
  for (uint32_t i = static_cast<uint32_t>(graph_.size()); i-- > 0;) {
    const bool feeds = wide_[i] && is_pointwise(node(NodeId{i}).op) && !readers[i].empty() &&
                       std::all_of(readers[i].begin(), readers[i].end(), [&](uint32_t r) { return waits[r]; });
    waits[i] = feeds || ends_group(NodeId{i});
  }
  auto key = [&](uint32_t i) { return std::make_pair(static_cast<bool>(waits[i]), i); };
  std::priority_queue<std::pair<bool, uint32_t>, std::vector<std::pair<bool, uint32_t>>, std::greater<>> ready;
  for (uint32_t i = 0; i < graph_.size(); ++i)
    if (missing[i] == 0) ready.push(key(i));
  std::vector<NodeId> order;
  while (!ready.empty()) {
    const uint32_t i = ready.top().second;
    ready.pop();
    order.push_back(NodeId{i});
    for (uint32_t r : readers[i])
      if (--missing[r] == 0) ready.push(key(r));
  }
  return order;
}

bool Fuser::ends_group(NodeId id) const {
  const Node& n = node(id);
  if (library_[id.index]) return false;
  std::vector<DimId> reduced = reduced_dims(n);
  if (n.op == Op::At) reduced = n.attrs.dims;
  for (DimId d : reduced) {
    if (graph_.dim(d).is_free()) return true;
    for (NodeId o : n.operands)
      for (DimId along : wide_[o.index] ? lanes_.walks_of(graph_, o) : std::vector<DimId>())
        if (d == along || d == lanes_.of(graph_, node(o).type, along)) return true;
  }
  return false;
}

// ---- placing a node ------------------------------------------------------------------------------------------------

void Fuser::place(NodeId id) {
  const Node& n = node(id);
  if (is_source(id)) return;
  int base = 0;
  for (NodeId o : n.operands)
    if (o.present()) base = std::max(base, level_[view_root(o).index]);
  level_[id.index] = base;
  if (is_join(n) || is_after(id)) return;
  if (is_view(graph_, id) && is_free_view(id)) return;
  if (library_[id.index]) {
    level_[id.index] = base + 1;
    open_group(id, base + 1, true);
    return;
  }
  Why why;
  if (copies_.count(id) && is_computed(n.operands[0])) {
    in_memory_[n.operands[0].index] = true;
    return;
  }
  if (join_operands(id, base, &why)) return;
  if (is_view(graph_, id)) {  // cut in memory instead
    store(view_root(n.operands[0]), id, *why);
    return;
  }
  if (join_sibling(id, base + 1)) return;
  const int g = open_group(id, base + 1, false);
  if (why) breaks_.push_back({Outcome::Stopped, id, {}, *why});
  std::optional<std::vector<Member>> added = fitting(id, g, {}, &why);
  if (!added && describe({{id}}, &why)) {
    for (NodeId o : n.operands)
      if (o.present() && is_computed(o)) store(o, id, *why);
    added.emplace();
  }
  if (!added) throw cannot(id, *why);
  groups_[g].members = merged({}, *added, {id});
  note_reads(id, g);
}

bool Fuser::join_sibling(NodeId id, int level) {
  for (NodeId o : node(id).operands) {
    if (!o.present()) continue;
    const auto readers = memory_readers_.find(view_root(o).index);
    if (readers == memory_readers_.end()) continue;
    for (int g : readers->second) {
      if (!groups_[g].alive || groups_[g].level != level || !same_domain(id, g)) continue;
      Why why;
      const std::optional<std::vector<Member>> added = fitting(id, g, groups_[g].members, &why);
      if (!added) continue;
      home_[id.index] = g;
      level_[id.index] = level;
      groups_[g].members = merged(groups_[g].members, *added, {id});
      note_reads(id, g);
      return true;
    }
  }
  return false;
}

void Fuser::note_reads(NodeId id, int g) {
  for (NodeId o : node(id).operands) {
    if (!o.present() || class_of(node(view_root(o)).op) == OpClass::Source) continue;
    auto& readers = memory_readers_[view_root(o).index];
    if (std::find(readers.begin(), readers.end(), g) == readers.end()) readers.push_back(g);
  }
}

bool Fuser::same_domain(NodeId id, int g) const {
  auto spans = [&](DimId d) {
    return std::any_of(groups_[g].members.begin(), groups_[g].members.end(),
                       [&](const Member& m) { return touches(graph_, node(m.node), d); });
  };
  for (NodeId o : node(id).operands)
    if (o.present() && !std::all_of(node(o).type.dims.begin(), node(o).type.dims.end(), spans)) return false;
  return std::all_of(node(id).type.dims.begin(), node(id).type.dims.end(), spans);
}

bool Fuser::is_free_view(NodeId id) const {
  const NodeId root = view_root(node(id).operands[0]);
  return home_[root.index] < 0 || groups_[home_[root.index]].library || node(id).op == Op::Rename;
}

int Fuser::open_group(NodeId id, int level, bool library) {
  groups_.push_back({level, library, true, false, {}});
  const int g = static_cast<int>(groups_.size()) - 1;
  home_[id.index] = g;
  level_[id.index] = level;
  groups_[g].members.push_back({id});
  return g;
}

bool Fuser::join_operands(NodeId id, int base, Why* why) {
  std::set<int> candidates;
  for (NodeId o : node(id).operands) {
    if (!o.present()) continue;
    const NodeId root = view_root(o);
    if (level_[root.index] < base || is_source(root)) continue;
    if (Why memory = why_in_memory(o)) {
      *why = std::move(memory);
      return false;
    }
    candidates.insert(home_[root.index]);
  }
  if (candidates.empty()) return false;
  std::vector<Member> members;
  for (int g : candidates) members.insert(members.end(), groups_[g].members.begin(), groups_[g].members.end());
  const int target = *candidates.begin();
  const Member self{id};
  const std::optional<std::vector<Member>> added = fitting(id, target, members, why);
  if (!added || !find_states(candidates, merged(members, *added, self), why)) return false;
  for (int g : candidates) absorb(target, g);
  home_[id.index] = target;
  level_[id.index] = base;
  groups_[target].members = merged(groups_[target].members, *added, self);
  return true;
}

Why Fuser::why_in_memory(NodeId operand) const {
  const NodeId root = view_root(operand);
  const std::string& name = node(root).name;
  if (is_after(root))
    return Reason{ReasonCode::Waits, fmt::format("{} is read after {}", name, node(node(root).operands[1]).name)};
  if (is_join(node(root))) return Reason{ReasonCode::Join, fmt::format("{} is a join in memory", name)};
  if (!is_computed(root))
    return Reason{ReasonCode::LibraryCall, fmt::format("{} is the result of a library call", name)};
  if (root != operand)
    return Reason{ReasonCode::CutInMemory, fmt::format("{} is a cut of {} in memory", node(operand).name, name)};
  return std::nullopt;
}

std::optional<std::vector<Member>> Fuser::fitting(NodeId id, int group, const std::vector<Member>& members,
                                                  Why* why) const {
  for (Again again : {Again::cheap, Again::wide}) {
    const std::vector<Member> added = close_over(id, group, members, again);
    if (describe(merged(members, added, {id}), why)) return added;
  }
  return std::nullopt;
}

void Fuser::store(NodeId id, NodeId reader, Reason why) {
  in_memory_[id.index] = true;
  if (!wide_[id.index]) return;
  wide_[id.index] = false;
  breaks_.push_back({Outcome::Stored, reader, id, std::move(why)});
}

void Fuser::absorb(int target, int other) {
  if (target == other) return;
  for (const Member& m : groups_[other].members) {
    if (home_[m.node.index] == other) home_[m.node.index] = target;
    groups_[target].members = merged(groups_[target].members, {}, m);
  }
  groups_[other].alive = false;
  groups_[other].members.clear();
}

std::vector<Member> Fuser::merged(std::vector<Member> members, const std::vector<Member>& added, Member self) {
  members.insert(members.end(), added.begin(), added.end());
  members.push_back(self);
  std::stable_sort(members.begin(), members.end(), [](const Member& a, const Member& b) { return a.node < b.node; });
  members.erase(
      std::unique(members.begin(), members.end(), [](const Member& a, const Member& b) { return a.node == b.node; }),
      members.end());
  return members;
}

bool Fuser::holds(const std::vector<Member>& members, NodeId id) {
  return std::any_of(members.begin(), members.end(), [&](const Member& m) { return m.node == id; });
}

std::vector<Member> Fuser::close_over(NodeId id, int group, const std::vector<Member>& members, Again again) const {
  std::vector<Member> added;
  std::optional<bool> reverse = walk_of(id, members);
  std::vector<NodeId> stack{id};
  while (!stack.empty()) {
    const NodeId current = stack.back();
    stack.pop_back();
    const auto restarted = [&] {
      return std::any_of(added.begin(), added.end(), [&](const Member& m) {
        return m.node == current && restarts(m, merged(members, added, m));
      });
    };
    const int start = operand_index(node(current).op, "start");
    for (size_t i = 0; i < node(current).operands.size(); ++i) {
      if (static_cast<int>(i) == start && restarted()) continue;
      const NodeId o = node(current).operands[i];
      if (!o.present() || !is_computed(o) || holds(members, o) || holds(added, o) || home_[o.index] == group) continue;
      if (!wide_[o.index] &&
          (again == Again::wide || in_memory_[o.index] || !is_rematerialised(o, at_hand(members, added))))
        continue;
      Member clone{o};
      if (is_directional(node(o).op)) {
        if (!reverse) reverse = is_backward(o);
        clone.resumed = is_backward(o) != *reverse;
      }
      added.push_back(clone);
      stack.push_back(o);
    }
  }
  return added;
}

std::optional<bool> Fuser::walk_of(NodeId id, const std::vector<Member>& members) const {
  if (id.present() && is_directional(node(id).op)) return is_backward(id);
  for (const Member& m : members)
    if (is_directional(node(m.node).op) && !m.resumed) return is_backward(m.node);
  return std::nullopt;
}

bool Fuser::is_rematerialised(NodeId id, const std::set<NodeId>& at_hand) const {
  if (!is_pointwise(node(id).op)) return false;
  int nodes = 0;
  const std::set<NodeId> leaves = leaves_of(id, node(id).type.dims.size(), at_hand, &nodes);
  return nodes <= kMaxRematerialised && !leaves.count(id);
}

std::set<NodeId> Fuser::at_hand(const std::vector<Member>& members, const std::vector<Member>& added) const {
  std::set<NodeId> values;
  for (const auto* list : {&members, &added})
    for (const Member& m : *list) {
      values.insert(m.node);
      for (NodeId o : node(m.node).operands)
        if (o.present()) values.insert(o);
    }
  return values;
}

std::set<NodeId> Fuser::leaves_of(NodeId id, size_t full, const std::set<NodeId>& at_hand, int* nodes) const {
  const Node& n = node(id);
  if (n.type.dims.size() < full || n.op == Op::Const) return {};
  const bool leaf = !is_computed(id) || in_memory_[id.index] || !is_pointwise(n.op);
  if (leaf && at_hand.count(id)) return {};
  if (leaf || ++*nodes > kMaxRematerialised) return {id};
  std::set<NodeId> leaves;
  for (NodeId o : n.operands)
    if (o.present()) leaves.merge(leaves_of(o, full, at_hand, nodes));
  if (leaves.size() > 1) return {id};
  return leaves;
}

bool Fuser::restarts(const Member& member, const std::vector<Member>& members) const {
  const Node& n = node(member.node);
  return member.resumed && !(n.op == Op::Window && !holds(members, n.operands[0]));
}

std::vector<NodeId> Fuser::operands_of(const Member& member, const std::vector<Member>& members) const {
  const Node& n = node(member.node);
  const NodeId start = restarts(member, members) ? operand(n, "start") : NodeId{};
  std::vector<NodeId> read;
  for (NodeId o : n.operands)
    if (o.present() && o != start) read.push_back(o);
  return read;
}

bool is_join(const Node& node) {
  return node.op == Op::Concat || node.op == Op::Stack;
}

bool is_library(const Graph& fused, NodeId id) {
  const int kernel = fused.node(id).kernel;
  return kernel >= 0 && fused.kernels[static_cast<size_t>(kernel)].kind == KernelGroup::library;
}

NodeId library_node(const Graph& fused, int number) {
  if (fused.kernels[static_cast<size_t>(number)].kind != KernelGroup::library) return {};
  const auto found = std::ranges::find(fused.nodes(), number, &Node::kernel);
  return {static_cast<uint32_t>(found - fused.nodes().begin())};
}

bool is_library_product(const Graph& fused, int number) {
  const NodeId node = library_node(fused, number);
  return node.present() && fused.node(node).op == Op::Dot;
}

std::vector<bool> values_in_memory(const Graph& fused) {
  std::vector<bool> stored(fused.size(), false);
  for (uint32_t i = 0; i < fused.size(); ++i) {
    const Node& n = fused.node(NodeId{i});
    if (n.op == Op::Input || n.op == Op::Param || is_join(n) || is_library(fused, NodeId{i})) stored[i] = true;
    for (NodeId o : n.operands) {
      if (!o.present() || fused.node(o).kernel < 0) continue;
      if (fused.node(o).kernel != n.kernel) stored[o.index] = true;
    }
  }
  for (const Output& output : fused.outputs())
    if (!(fused.node(output.value).kernel < 0 && !stored[output.value.index])) stored[output.value.index] = true;
  for (uint32_t i = 0; i < fused.size(); ++i)
    if (fused.node(NodeId{i}).op == Op::ChunkStarts) stored[i] = true;
  return stored;
}

FuseOptions gpu_fuse_options() {
  FuseOptions options;
  options.fuse_projections = false;  // matrix units are faster at them than a walk that is bound by issue slots
  options.few_kernels = true;        // a launch costs as much as a small layer's product
  return options;
}

Graph fuse(const Graph& graph, const FuseOptions& options, Remarks& remarks, std::vector<Apart>* apart) {
  for (const Node& node : graph.nodes())
    if (node.op == Op::PartDot)
      throw InputError(node.location,
                       fmt::format("found part_dot ('{}'), which fusion makes of a dot; expected a dot", node.name));
  const Graph prepared = prepare_fusion(graph, options);
  Remarks found;
  Fuser fuser(prepared, options, found);
  Graph fused = fuser.run();
  if (apart) *apart = fuser.apart();
  if (options.few_kernels && !options.library_contractions)
    if (std::optional<Graph> in_parts = fuse_in_parts(prepared, fused, options, found, apart))
      fused = std::move(*in_parts);
  remarks.insert(remarks.end(), found.begin(), found.end());
  return fused;
}

}  // namespace mambac
