#include "passes/fuse.h"

#include <algorithm>
#include <queue>
#include <set>

#include <fmt/format.h>

#include "ir/builder.h"
#include "passes/contraction.h"
#include "passes/fuse_prepare.h"
#include "passes/group.h"

namespace mambac {

namespace {

constexpr int kMaxRematerialised = 16;  // nodes computed again in place of one load

struct Group {
  int level = 0;
  bool library = false;
  bool alive = true;
  bool split = false;  // a piece of a group that could not stay together
  std::vector<Member> members;  // in the order of the graph
};

/// What a group may compute again: wide values, which it must, and cheap ones.
enum class Again { cheap, wide };

class Fuser {
 public:
  Fuser(const Graph& graph, const FuseOptions& options, Remarks& remarks)
      : graph_(graph), options_(options), remarks_(remarks), lanes_(graph), home_(graph.size(), -1),
        level_(graph.size(), 0), in_memory_(graph.size(), false), chunks_(graph.size(), false),
        wide_(graph.size(), false), library_(graph.size(), false) {}

  Graph run() {
    classify();
    find_copies();
    for (NodeId id : visiting_order()) place(id);
    drop_unneeded();
    while (sink()) drop_unneeded();
    return emit();
  }

 private:
  // ---- facts about nodes ----

  const Node& node(NodeId id) const { return graph_.node(id); }
  bool is_source(NodeId id) const { return class_of(node(id).op) == OpClass::Source; }

  void classify() {
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      const NodeId id{i};
      const Node& n = node(id);
      library_[i] = n.op == Op::Gather || n.op == Op::Scatter ||
                    (n.op == Op::Dot && options_.library_contractions && is_large_contraction(graph_, id, options_.fuse_projections));
      wide_[i] = is_wide(graph_, id);
    }
    for (uint32_t i = 0; i < graph_.size(); ++i)  // such sums exist only in memory
      if (wide_[i] && ends_group(NodeId{i})) wide_[i] = false;
    keep_compared_values();
    for (uint32_t i = 0; i < graph_.size(); ++i)
      if (library_[i] || is_join(node(NodeId{i})))
        for (NodeId o : node(NodeId{i}).operands) in_memory_[view_root(o).index] = true;
    for (const Output& output : graph_.outputs()) in_memory_[view_root(output.value).index] = true;
    for (const Node& n : graph_.nodes()) {  // walks look at neighbouring steps of `starts`
      const NodeId starts = operand(n, "starts");
      if (starts.present()) in_memory_[view_root(starts).index] = true;
    }
  }

  /// The gradient of amax compares values with their largest. The same expression may round differently in another
  /// kernel, so the values are read from memory there, or both are made again.
  void keep_compared_values() {
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
          store(x, NodeId{index}, "it is compared with its largest value");
        }
      }
    }
  }

  /// Outputs that are copies of views: needed only when the view shows memory, not when a kernel computes it.
  void find_copies() {
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

  /// The value that an output names: what it is a copy of, when a kernel computes that.
  NodeId output_value(NodeId output) const {
    if (!copies_.count(output) || home_[output.index] >= 0) return output;
    return node(output).operands[0];
  }

  /// The value whose memory a chain of free views shows; the node itself when it is no view.
  NodeId view_root(NodeId id) const {
    while (is_view(graph_, id) && home_[id.index] < 0) id = node(id).operands[0];
    return id;
  }

  bool is_computed(NodeId id) const { return home_[id.index] >= 0 && !groups_[home_[id.index]].library; }

  /// Topological, but sums that end a group come after everything else that is ready: the recurrences decide which
  /// way a group walks, and such sums follow.
  std::vector<NodeId> visiting_order() const {
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

  bool ends_group(NodeId id) const {
    const Node& n = node(id);
    if (library_[id.index]) return false;
    std::vector<DimId> reduced = reduced_dims(n);
    if (n.op == Op::At) reduced = n.attrs.dims;
    for (DimId d : reduced) {
      if (graph_.dim(d).is_free()) return true;
      for (NodeId o : n.operands)
        if (wide_[o.index] && lanes_.of(graph_, node(o).type) == d) return true;
    }
    return false;
  }

  // ---- placing a node ----

  void place(NodeId id) {
    const Node& n = node(id);
    if (is_source(id)) return;
    int base = 0;
    for (NodeId o : n.operands)
      if (o.present()) base = std::max(base, level_[view_root(o).index]);
    level_[id.index] = base;
    if (is_join(n)) return;
    if (is_view(graph_, id) && is_free_view(id)) return;
    if (library_[id.index]) {
      level_[id.index] = base + 1;
      open_group(id, base + 1, true);
      return;
    }
    std::string why;
    if (copies_.count(id) && is_computed(n.operands[0])) {
      in_memory_[n.operands[0].index] = true;
      return;
    }
    if (join_operands(id, base, &why)) return;
    if (is_view(graph_, id)) {  // cut in memory instead
      store(view_root(n.operands[0]), id, why);
      return;
    }
    if (join_sibling(id, base + 1)) return;
    const int g = open_group(id, base + 1, false);
    remark_break(id, why);
    std::optional<std::vector<Member>> added = fitting(id, g, {}, &why);
    if (!added && describe_group(graph_, lanes_, {{id}}, &why)) {
      for (NodeId o : n.operands)
        if (o.present() && is_computed(o)) store(o, id, why);
      added.emplace();
    }
    if (!added) throw cannot(id, why);
    groups_[g].members = merged({}, *added, {id});
    note_reads(id, g);
  }

  /// Puts the node into a group of the same level that reads the same memory.
  bool join_sibling(NodeId id, int level) {
    for (NodeId o : node(id).operands) {
      if (!o.present()) continue;
      const auto readers = memory_readers_.find(view_root(o).index);
      if (readers == memory_readers_.end()) continue;
      for (int g : readers->second) {
        if (!groups_[g].alive || groups_[g].level != level || !same_domain(id, g)) continue;
        std::string why;
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

  void note_reads(NodeId id, int g) {
    for (NodeId o : node(id).operands) {
      if (!o.present() || class_of(node(view_root(o)).op) == OpClass::Source) continue;
      auto& readers = memory_readers_[view_root(o).index];
      if (std::find(readers.begin(), readers.end(), g) == readers.end()) readers.push_back(g);
    }
  }

  /// Whether the node runs over dimensions that the group has already.
  bool same_domain(NodeId id, int g) const {
    auto spans = [&](DimId d) {
      return std::any_of(groups_[g].members.begin(), groups_[g].members.end(),
                         [&](const Member& m) { return touches(graph_, node(m.node), d); });
    };
    for (NodeId o : node(id).operands)
      if (o.present() && !std::all_of(node(o).type.dims.begin(), node(o).type.dims.end(), spans)) return false;
    return std::all_of(node(id).type.dims.begin(), node(id).type.dims.end(), spans);
  }

  bool is_free_view(NodeId id) const {
    const NodeId root = view_root(node(id).operands[0]);
    return home_[root.index] < 0 || groups_[home_[root.index]].library || node(id).op == Op::Rename;
  }

  int open_group(NodeId id, int level, bool library) {
    groups_.push_back({level, library, true, false, {}});
    const int g = static_cast<int>(groups_.size()) - 1;
    home_[id.index] = g;
    level_[id.index] = level;
    groups_[g].members.push_back({id});
    return g;
  }

  /// Puts the node into the group(s) of its latest operands.
  bool join_operands(NodeId id, int base, std::string* why) {
    std::set<int> candidates;
    for (NodeId o : node(id).operands) {
      if (!o.present()) continue;
      const NodeId root = view_root(o);
      if (level_[root.index] < base || is_source(root)) continue;
      if (!is_computed(root) || is_join(node(root))) {
        *why = fmt::format("{} is the result of {}", node(root).name,
                           is_join(node(root)) ? "a join in memory" : "a library call");
        return false;
      }
      if (root != o) {
        *why = fmt::format("{} is a cut of {} in memory", node(o).name, node(root).name);
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
    if (!added) return false;
    for (int g : candidates) absorb(target, g);
    home_[id.index] = target;
    level_[id.index] = base;
    groups_[target].members = merged(groups_[target].members, *added, self);
    return true;
  }

  /// What the group must compute again to hold the node: with cheap values made again, or else read from memory.
  std::optional<std::vector<Member>> fitting(NodeId id, int group, const std::vector<Member>& members,
                                             std::string* why) const {
    for (Again again : {Again::cheap, Again::wide}) {
      const std::vector<Member> added = close_over(id, group, members, again);
      if (describe_group(graph_, lanes_, merged(members, added, {id}), why)) return added;
    }
    return std::nullopt;
  }

  /// A value that is stored although it is wide, since a reader cannot make it again.
  void store(NodeId id, NodeId reader, const std::string& why) {
    in_memory_[id.index] = true;
    if (!wide_[id.index]) return;
    wide_[id.index] = false;
    remarks_.push_back({"fuse", "stored", node(reader).location, node(id).name,
                        fmt::format("stored with all its dimensions for {}: {}", node(reader).name, why)});
  }

  void absorb(int target, int other) {
    if (target == other) return;
    for (const Member& m : groups_[other].members) {
      if (home_[m.node.index] == other) home_[m.node.index] = target;
      groups_[target].members = merged(groups_[target].members, {}, m);
    }
    groups_[other].alive = false;
    groups_[other].members.clear();
  }

  static std::vector<Member> merged(std::vector<Member> members, const std::vector<Member>& added, Member self) {
    members.insert(members.end(), added.begin(), added.end());
    members.push_back(self);
    std::stable_sort(members.begin(), members.end(), [](const Member& a, const Member& b) { return a.node < b.node; });
    members.erase(std::unique(members.begin(), members.end(),
                              [](const Member& a, const Member& b) { return a.node == b.node; }),
                  members.end());
    return members;
  }

  static bool holds(const std::vector<Member>& members, NodeId id) {
    return std::any_of(members.begin(), members.end(), [&](const Member& m) { return m.node == id; });
  }

  /// Finds what must be computed again in the group so that it can hold the node.
  std::vector<Member> close_over(NodeId id, int group, const std::vector<Member>& members, Again again) const {
    std::vector<Member> added;
    std::optional<bool> reverse = walk_of(id, members);
    std::vector<NodeId> stack{id};
    while (!stack.empty()) {
      const NodeId current = stack.back();
      stack.pop_back();
      const bool resumed = std::any_of(added.begin(), added.end(),
                                       [&](const Member& m) { return m.node == current && m.resumed; });
      const int start = operand_index(node(current).op, "start");
      for (size_t i = 0; i < node(current).operands.size(); ++i) {
        if (resumed && static_cast<int>(i) == start) continue;
        const NodeId o = node(current).operands[i];
        if (!o.present() || !is_computed(o) || holds(members, o) || holds(added, o) || home_[o.index] == group) continue;
        if (!wide_[o.index] && (again == Again::wide || in_memory_[o.index] || !is_rematerialised(o, at_hand(members, added)))) continue;
        Member clone{o};
        if (is_directional(node(o).op)) {
          const bool backward = node(o).op == Op::Overlap || node(o).attrs.reverse;
          if (!reverse) reverse = backward;
          clone.resumed = backward != *reverse;
        }
        added.push_back(clone);
        stack.push_back(o);
      }
    }
    return added;
  }

  std::optional<bool> walk_of(NodeId id, const std::vector<Member>& members) const {
    auto direction = [&](NodeId n) { return node(n).op == Op::Overlap || node(n).attrs.reverse; };
    if (is_directional(node(id).op)) return direction(id);
    for (const Member& m : members)
      if (is_directional(node(m.node).op) && !m.resumed) return direction(m.node);
    return std::nullopt;
  }

  /// A pointwise value that can be made again from at most one stored value of its size that the group does not read
  /// anyway.
  bool is_rematerialised(NodeId id, const std::set<NodeId>& at_hand) const {
    if (!is_pointwise(node(id).op)) return false;
    int nodes = 0;
    const std::set<NodeId> leaves = leaves_of(id, node(id).type.dims.size(), at_hand, &nodes);
    return nodes <= kMaxRematerialised && !leaves.count(id);
  }

  /// What members compute or read.
  std::set<NodeId> at_hand(const std::vector<Member>& members, const std::vector<Member>& added) const {
    std::set<NodeId> values;
    for (const auto* list : {&members, &added})
      for (const Member& m : *list) {
        values.insert(m.node);
        for (NodeId o : node(m.node).operands)
          if (o.present()) values.insert(o);
      }
    return values;
  }

  /// The stored values of full size, besides those at hand, that a value can be made from: itself when more than one
  /// would be needed.
  std::set<NodeId> leaves_of(NodeId id, size_t full, const std::set<NodeId>& at_hand, int* nodes) const {
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

  /// The recurrence whose stored states restart this one: a delay of a scan's result has the scan's states.
  NodeId state_source(NodeId id) const {
    const Node& n = node(id);
    if (n.op != Op::Delay || !n.operands[0].present()) return id;
    const Node& x = node(n.operands[0]);
    const bool same = x.op == Op::Scan && x.attrs == n.attrs && operand(x, "start") == operand(n, "start");
    return same ? n.operands[0] : id;
  }

  void remark_break(NodeId id, const std::string& why) {
    if (why.empty()) return;
    remarks_.push_back({"fuse", "stopped", node(id).location, node(id).name, why});
  }

  // ---- cleaning ----

  /// Where a member reads an operand: its own group when it holds it, else the operand's home.
  int provider(int group, NodeId operand) const {
    return holds(groups_[group].members, operand) ? group : home_[operand.index];
  }

  void drop_unneeded() {
    std::set<std::pair<int, uint32_t>> needed;
    std::vector<std::pair<int, NodeId>> stack;
    auto need = [&](int group, NodeId id) {
      if (group < 0 || !holds(groups_[group].members, id)) {
        if (view_root(id) != id) group = -1;  // views show memory, never a value that is made again
        id = view_root(id);
      }
      if (is_join(node(id)) || (home_[id.index] < 0 && !is_source(id))) {
        if (needed.insert({-1, id.index}).second) stack.push_back({-1, id});
        return;
      }
      if (is_source(id)) return;
      const int g = group >= 0 && holds(groups_[group].members, id) ? group : home_[id.index];
      if (needed.insert({g, id.index}).second) stack.push_back({g, id});
    };
    for (const Output& output : graph_.outputs()) need(-1, output_value(output.value));
    while (!stack.empty()) {
      const auto [g, id] = stack.back();
      stack.pop_back();
      bool resumed = false;
      if (g >= 0)
        for (const Member& m : groups_[g].members) resumed |= m.node == id && m.resumed;
      if (resumed) need(-1, state_source(id));  // its states at the tiles come from where it runs whole
      const int start = operand_index(node(id).op, "start");
      for (size_t i = 0; i < node(id).operands.size(); ++i) {
        const NodeId o = node(id).operands[i];
        if (!o.present() || (resumed && static_cast<int>(i) == start)) continue;
        const bool library = g >= 0 && groups_[g].library;
        need(library ? -1 : g, o);
      }
    }
    std::fill(chunks_.begin(), chunks_.end(), false);
    for (size_t g = 0; g < groups_.size(); ++g) {
      auto& members = groups_[g].members;
      members.erase(std::remove_if(members.begin(), members.end(),
                                   [&](const Member& m) { return !needed.count({static_cast<int>(g), m.node.index}); }),
                    members.end());
      if (members.empty()) groups_[g].alive = false;
      for (const Member& m : members)
        if (m.resumed) chunks_[state_source(m.node).index] = true;
    }
    for (size_t g = 0, count = groups_.size(); g < count; ++g) {
      std::string why;
      if (groups_[g].alive && !groups_[g].library && !describe_group(graph_, lanes_, groups_[g].members, &why))
        split(static_cast<int>(g), why);
    }
  }

  /// Members may have been together only for the sake of one that went. The rest stays in as few pieces as its order
  /// allows; since the pieces follow the order of the graph, none waits for a later one.
  void split(int g, const std::string& why) {
    std::vector<Member> old = std::move(groups_[g].members);
    groups_[g].members.clear();
    for (Member& m : old) {  // what nobody else computes any more is this group's own
      if (home_[m.node.index] == g || holds(groups_[home_[m.node.index]].members, m.node)) continue;
      home_[m.node.index] = g;
      m.resumed = false;
    }
    groups_[g].split = true;
    int piece = g;
    std::vector<std::pair<NodeId, int>> placed;
    for (const Member& m : old) {
      if (home_[m.node.index] != g) continue;
      std::vector<Member> wanted = with_remade(m, old);
      std::string reason;
      if (!describe_group(graph_, lanes_, wanted, &reason)) wanted = {m};  // what it remade is read from memory
      const std::vector<Member>& there = groups_[piece].members;
      std::vector<Member> all = there;
      for (const Member& w : wanted) all = merged(all, {}, w);
      if (!reads_cut_of(wanted, there) && describe_group(graph_, lanes_, all, &reason)) {
        groups_[piece].members = all;
      } else if (describe_group(graph_, lanes_, wanted, &reason)) {
        groups_.push_back({groups_[g].level, false, true, true, wanted});
        piece = static_cast<int>(groups_.size()) - 1;
      } else if (is_view(graph_, m.node)) {
        home_[m.node.index] = -1;
        store(view_root(m.node), m.node, reason);
        copy_after_all(m.node, groups_[g].level + 1);
        continue;
      } else {
        throw cannot(m.node, reason);
      }
      placed.push_back({m.node, piece});
    }
    for (const auto& [id, home] : placed) home_[id.index] = home;
    groups_[g].alive = !groups_[g].members.empty();
    remarks_.push_back({"fuse", "split", node(old[0].node).location, node(old[0].node).name, why});
  }

  /// An output that was to be the view itself needs its copy when the view shows memory.
  void copy_after_all(NodeId view, int level) {
    for (NodeId copy : copies_)
      if (node(copy).operands[0] == view && home_[copy.index] < 0) open_group(copy, level, false);
  }

  /// The member with what its group computes again for it.
  std::vector<Member> with_remade(const Member& member, const std::vector<Member>& group) const {
    std::vector<Member> wanted{member}, stack{member};
    while (!stack.empty()) {
      const Member current = stack.back();
      stack.pop_back();
      for (NodeId o : node(current.node).operands)
        for (const Member& m : group)
          if (o.present() && m.node == o && home_[o.index] != home_[member.node.index] && !holds(wanted, o)) {
            wanted = merged(wanted, {}, m);
            stack.push_back(m);
          }
    }
    return wanted;
  }

  /// Whether one of the readers takes a part, cut in memory, of what the members compute.
  bool reads_cut_of(const std::vector<Member>& readers, const std::vector<Member>& members) const {
    return std::any_of(readers.begin(), readers.end(), [&](const Member& m) {
      return std::any_of(node(m.node).operands.begin(), node(m.node).operands.end(), [&](NodeId o) {
        return o.present() && view_root(o) != o && holds(members, view_root(o));
      });
    });
  }

  InputError cannot(NodeId id, const std::string& why) const {
    return InputError(node(id).location,
                      fmt::format("{} ({}) cannot be compiled: {}", node(id).name, name_of(node(id).op), why));
  }

  static constexpr int kOutside = -2;  // as a reader: a library call, a join or a view

  /// The groups that read each group's values from memory.
  std::vector<std::set<int>> readers_of_groups() const {
    std::vector<std::set<int>> readers(groups_.size());
    auto read = [&](int reader, NodeId o) {
      const NodeId root = view_root(o);
      if (is_computed(root)) readers[home_[root.index]].insert(root == o ? reader : kOutside);
    };
    for (size_t g = 0; g < groups_.size(); ++g) {
      if (!groups_[g].alive) continue;
      for (const Member& m : groups_[g].members) {
        if (m.resumed) readers[home_[state_source(m.node).index]].insert(kOutside);
        for (NodeId o : node(m.node).operands) {
          if (!o.present()) continue;
          if (groups_[g].library)
            read(kOutside, o);
          else if (!holds(groups_[g].members, o))
            read(static_cast<int>(g), o);
        }
      }
    }
    for (uint32_t i = 0; i < graph_.size(); ++i)
      if (is_join(node(NodeId{i})))
        for (NodeId o : node(NodeId{i}).operands) read(kOutside, o);
    return readers;
  }

  /// Merges a group into the first of the groups that read it, or, when it has no free dimensions, into a walk that
  /// runs before them. Returns whether anything changed.
  bool sink() {
    const std::vector<std::set<int>> readers = readers_of_groups();
    std::vector<int> order;  // made when it is needed
    for (int g = static_cast<int>(groups_.size()) - 1; g >= 0; --g) {
      if (!groups_[g].alive || groups_[g].library || groups_[g].split || readers[g].empty()) continue;
      if (*readers[g].begin() < 0) continue;
      if (readers[g].size() == 1 && merge(*readers[g].begin(), g)) return true;
      const bool fixed = is_fixed(g);
      if (readers[g].size() == 1 && !fixed) continue;
      if (order.empty()) order = unit_order();
      // A place in a valid order that comes after all that the group reads and before all that read it.
      auto first = std::find_if(order.begin(), order.end(), [&](int h) { return readers[g].count(h) > 0; });
      if (merge(*first, g)) return true;
      const std::set<int> needed = fixed ? dependencies(g) : std::set<int>();
      for (auto at = first; fixed && at != order.begin();) {
        const int h = *--at;
        if (h == g) continue;
        if (needed.count(h)) break;
        if (is_walk(h) && merge(h, g)) return true;
      }
    }
    return false;
  }

  bool merge(int target, int g) {
    if (groups_[target].library || target == g) return false;
    std::vector<Member> all = groups_[target].members;
    for (const Member& m : groups_[g].members) all = merged(all, {}, m);
    std::string why;
    if (!describe_group(graph_, lanes_, all, &why)) return false;
    absorb(target, g);
    return true;
  }

  bool is_fixed(int g) const {
    return std::all_of(groups_[g].members.begin(), groups_[g].members.end(), [&](const Member& m) {
      return std::none_of(graph_.dims().begin(), graph_.dims().end(), [&](const Dim& d) {
        return d.is_free() && touches(graph_, node(m.node), DimId{static_cast<uint32_t>(&d - graph_.dims().data())});
      });
    });
  }

  bool is_walk(int g) const {
    return std::any_of(groups_[g].members.begin(), groups_[g].members.end(),
                       [&](const Member& m) { return is_directional(node(m.node).op); });
  }

  // ---- writing the new graph ----

  Graph emit();
  void emit_unit(int unit);
  NodeId emit_value(int group, NodeId id);
  NodeId emit_member(int g, const Member& member);
  NodeId chunk_starts(NodeId id);
  void name_kernel(KernelGroup& group, const std::vector<Member>& members, int number);
  std::set<int> dependencies(int group) const;
  std::vector<int> unit_order() const;

  const Graph& graph_;
  const FuseOptions& options_;
  Remarks& remarks_;
  Lanes lanes_;
  std::vector<int> home_;       // the group that computes a node whole
  std::vector<int> level_;
  std::vector<bool> in_memory_;  // stored whatever fusion does
  std::vector<bool> chunks_;     // recurrences whose states at tiles are stored
  std::vector<bool> wide_;
  std::vector<bool> library_;
  std::set<NodeId> copies_;      // outputs that are copies of views
  std::vector<Group> groups_;
  std::map<uint32_t, std::vector<int>> memory_readers_;  // of library results and other groups' values

  Graph out_;
  std::map<std::pair<int, uint32_t>, NodeId> emitted_;  // (group or -1, node) -> new node
  std::map<uint32_t, NodeId> chunk_nodes_;
};

/// The groups whose values in memory a group reads.
std::set<int> Fuser::dependencies(int g) const {
  std::set<int> found;
  std::vector<NodeId> stack;
  for (const Member& m : groups_[g].members) {
    if (m.resumed) found.insert(home_[state_source(m.node).index]);
    for (NodeId o : node(m.node).operands)
      if (o.present() && !(holds(groups_[g].members, o) && !groups_[g].library)) stack.push_back(o);
  }
  while (!stack.empty()) {
    const NodeId current = view_root(stack.back());
    stack.pop_back();
    const int h = home_[current.index];
    if (is_join(node(current)))
      stack.insert(stack.end(), node(current).operands.begin(), node(current).operands.end());
    else if (h >= 0 && h != g)
      found.insert(h);
  }
  return found;
}

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
  const auto alive = std::count_if(groups_.begin(), groups_.end(), [](const Group& g) { return g.alive; });
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
  for (size_t i = 0; i < copy.operands.size(); ++i) {
    if (member.resumed && static_cast<int>(i) == start)
      copy.operands[i] = {};
    else
      copy.operands[i] = emit_value(groups_[g].library ? -1 : g, original.operands[i]);
  }
  if (member.resumed) copy.operands[resume] = chunk_starts(member.node);
  return emitted_[{g, member.node.index}] = out_.append(std::move(copy));
}

void Fuser::emit_unit(int g) {
  const Group& group = groups_[g];
  // Operands from outside first, so that a kernel's nodes stay together.
  for (const Member& m : group.members)
    for (NodeId o : node(m.node).operands)
      if (o.present() && !(holds(group.members, o) && !group.library)) emit_value(group.library ? -1 : g, o);
  const int number = static_cast<int>(out_.kernels.size());
  KernelGroup kernel;
  if (group.library) {
    kernel.kind = KernelGroup::library;
    kernel.name = fmt::format("k{}_{}", number, name_of(node(group.members[0].node).op));
  } else {
    std::string why;
    auto described = describe_group(graph_, lanes_, group.members, &why);
    if (!described) throw InternalError(fmt::format("fuse: a group lost its loops: {}", why));
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
    chunk.name = out_.node(id).name + ".chunks";
    chunk.location = node(m.node).location;
    chunk.kernel = number;
    chunk_nodes_[m.node.index] = out_.append(std::move(chunk));
  }
}

Graph Fuser::emit() {
  out_ = Graph();
  out_.name = graph_.name;
  for (const Dim& dim : graph_.dims()) {
    if (dim.is_tiles())
      out_.add_tiles(dim.base, dim.divisor);
    else
      out_.add_dim(dim.name, dim.size);
  }
  for (uint32_t i = 0; i < graph_.size(); ++i)  // the interface keeps its order
    if (node(NodeId{i}).op == Op::Input || node(NodeId{i}).op == Op::Param) emit_value(-1, NodeId{i});
  for (int g : unit_order()) emit_unit(g);
  for (const Output& output : graph_.outputs())
    out_.outputs().push_back({output.name, emit_value(-1, output_value(output.value))});
  return std::move(out_);
}

}  // namespace

bool is_join(const Node& node) { return node.op == Op::Concat || node.op == Op::Stack; }

bool is_library(const Graph& fused, NodeId id) {
  const int kernel = fused.node(id).kernel;
  return kernel >= 0 && fused.kernels[static_cast<size_t>(kernel)].kind == KernelGroup::library;
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

Graph fuse(const Graph& graph, const FuseOptions& options, Remarks& remarks) {
  const Graph prepared = prepare_fusion(graph, options);
  return Fuser(prepared, options, remarks).run();
}

}  // namespace mambac
