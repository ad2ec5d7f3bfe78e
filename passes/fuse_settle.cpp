#include <fmt/format.h>

#include <algorithm>

#include "passes/contraction.h"
#include "passes/fuser.h"

namespace mambac {

void Fuser::run_with_walk() {
  for (FusedGroup& group : groups_) {
    const std::optional<bool> reverse = walk_of(NodeId{}, group.members);
    for (Member& m : group.members) m.resumed = m.resumed && is_backward(m.node) != reverse;
  }
}

void Fuser::drop_unneeded() {
  run_with_walk();
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
    if (g < 0) {  // a join or a view
      for (NodeId o : node(id).operands) need(-1, o);
      continue;
    }
    const std::vector<Member>& members = groups_[g].members;
    const Member& member = *std::ranges::find(members, id, &Member::node);
    if (restarts(member, members)) need(-1, state_source(id));  // its states at the tiles are from where it runs whole
    for (NodeId o : operands_of(member, members)) need(groups_[g].library ? -1 : g, o);
  }
  std::fill(chunks_.begin(), chunks_.end(), false);
  for (size_t g = 0; g < groups_.size(); ++g) {
    auto& members = groups_[g].members;
    members.erase(std::remove_if(members.begin(), members.end(),
                                 [&](const Member& m) {
                                   return !needed.count({static_cast<int>(g), m.node.index});
                                 }),
                  members.end());
    if (members.empty()) groups_[g].alive = false;
    for (const Member& m : members)
      if (restarts(m, members)) chunks_[state_source(m.node).index] = true;
  }
  for (size_t g = 0, count = groups_.size(); g < count; ++g) {
    Why why;
    if (groups_[g].alive && !groups_[g].library && !describe(groups_[g].members, &why))
      split(static_cast<int>(g), *why);
  }
}

void Fuser::split(int g, const Reason& why) {
  std::vector<Member> old = std::move(groups_[g].members);
  groups_[g].members.clear();
  for (Member& m : old) {  // what nobody else computes any more is this group's own
    const int home = home_[m.node.index];
    if (home < 0 || home == g || holds(groups_[home].members, m.node)) continue;  // < 0: a view of memory
    home_[m.node.index] = g;
    m.resumed = false;
  }
  groups_[g].split = true;
  int piece = g;
  std::vector<std::pair<NodeId, int>> placed;
  for (const Member& m : old) {
    if (home_[m.node.index] != g) continue;
    std::vector<Member> wanted = with_remade(m, old);
    Why reason;
    if (!describe(wanted, &reason)) wanted = {m};  // what it remade is read from memory
    const std::vector<Member>& there = groups_[piece].members;
    std::vector<Member> all = there;
    for (const Member& w : wanted) all = merged(all, {}, w);
    if (!reads_cut_of(wanted, there) && describe(all, &reason)) {
      groups_[piece].members = all;
    } else if (describe(wanted, &reason)) {
      groups_.push_back({groups_[g].level, false, true, true, wanted});
      piece = static_cast<int>(groups_.size()) - 1;
    } else if (is_view(graph_, m.node)) {
      home_[m.node.index] = -1;
      store(view_root(m.node), m.node, *reason);
      copy_after_all(m.node, groups_[g].level + 1);
      continue;
    } else {
      throw cannot(m.node, *reason);
    }
    placed.push_back({m.node, piece});
  }
  for (const auto& [id, home] : placed) home_[id.index] = home;
  groups_[g].alive = !groups_[g].members.empty();
  remark(Outcome::Split, old[0].node, node(old[0].node).location, why.code, why.text);
}

void Fuser::copy_after_all(NodeId view, int level) {
  for (NodeId copy : copies_)
    if (node(copy).operands[0] == view && home_[copy.index] < 0) open_group(copy, level, false);
}

std::vector<Member> Fuser::with_remade(const Member& member, const std::vector<Member>& group) const {
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

bool Fuser::reads_cut_of(const std::vector<Member>& readers, const std::vector<Member>& members) const {
  return std::any_of(readers.begin(), readers.end(), [&](const Member& m) {
    return std::any_of(node(m.node).operands.begin(), node(m.node).operands.end(),
                       [&](NodeId o) { return o.present() && view_root(o) != o && holds(members, view_root(o)); });
  });
}

InputError Fuser::cannot(NodeId id, const Reason& why) const {
  return InputError(node(id).location,
                    fmt::format("{} ({}) cannot be compiled: {}", node(id).name, name_of(node(id).op), why.text));
}

std::vector<std::set<int>> Fuser::readers_of_groups() const {
  std::vector<std::set<int>> readers(groups_.size());
  auto read = [&](int reader, NodeId o) {
    const NodeId root = view_root(o);
    if (is_computed(root)) readers[home_[root.index]].insert(root == o ? reader : kOutside);
  };
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (!groups_[g].alive) continue;
    for (const Member& m : groups_[g].members) {
      if (restarts(m, groups_[g].members)) readers[home_[state_source(m.node).index]].insert(kOutside);
      for (NodeId o : operands_of(m, groups_[g].members)) {
        if (groups_[g].library)
          read(kOutside, o);
        else if (!holds(groups_[g].members, o))
          read(static_cast<int>(g), o);
      }
    }
  }
  for (uint32_t i = 0; i < graph_.size(); ++i)
    if (is_join(node(NodeId{i})) || is_after(NodeId{i}))
      for (NodeId o : node(NodeId{i}).operands) read(kOutside, o);
  return readers;
}

bool Fuser::sink() {
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

bool Fuser::merge(int target, int g) {
  if (groups_[target].library || target == g) return false;
  Why why;
  if (!can_be_one({target, g}, both(target, groups_[g].members), &why)) return false;
  absorb(target, g);
  return true;
}

bool Fuser::can_be_one(const std::set<int>& groups, const std::vector<Member>& members, Why* why) const {
  return find_states(groups, members, why) && describe(members, why);
}

bool Fuser::find_states(const std::set<int>& groups, const std::vector<Member>& members, Why* why) const {
  for (const Member& m : members) {
    if (!restarts(m, members)) continue;
    const NodeId source = state_source(m.node);
    const int home = home_[source.index];
    if (!groups.count(home) && holds(groups_[home].members, source)) continue;
    *why = Reason{ReasonCode::NoStates, fmt::format("no other kernel leaves the states of {}", node(source).name)};
    return false;
  }
  return true;
}

bool Fuser::unite() {
  for (const auto& [id, holders] : holders_of_wide())
    for (size_t i = 0; i < holders.size(); ++i)
      for (size_t j = i + 1; j < holders.size(); ++j) {
        Why why;
        if (!worth_uniting(holders[i], holders[j])) continue;
        if (unite(holders[i], holders[j], &why) || unite(holders[j], holders[i], &why)) return true;
      }
  return false;
}

std::map<NodeId, std::vector<int>> Fuser::holders_of_wide() const {
  std::map<NodeId, std::vector<int>> holders;
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (!groups_[g].alive || groups_[g].library || groups_[g].split) continue;
    for (const Member& m : groups_[g].members)
      if (widths_.wide(m.node)) holders[m.node].push_back(static_cast<int>(g));
  }
  return holders;
}

bool Fuser::worth_uniting(int g, int h) const {
  auto lacks = [&](int one, int other) {
    return std::any_of(groups_[one].members.begin(), groups_[one].members.end(), [&](const Member& m) {
      return widths_.wide(m.node) && !holds(groups_[other].members, m.node);
    });
  };
  const bool same_recurrence =
      std::any_of(groups_[g].members.begin(), groups_[g].members.end(), [&](const Member& m) {
        return is_directional(node(m.node).op) && holds(groups_[h].members, m.node);
      });
  return same_recurrence || !lacks(g, h) || !lacks(h, g);
}

bool Fuser::unite(int target, int g, Why* why) {
  if (!may_be_united(target, g, why)) return false;
  groups_[g].members = turned(g, walk_of(NodeId{}, groups_[target].members));
  absorb(target, g);
  return true;
}

bool Fuser::may_be_united(int target, int g, Why* why) const {
  const std::vector<Member> all = both(target, turned(g, walk_of(NodeId{}, groups_[target].members)));
  if (!can_be_one({target, g}, all, why)) return false;
  Why circle = why_in_circle(all, target, g);
  if (!circle) return true;
  *why = std::move(circle);
  return false;
}

Why Fuser::why_in_circle(const std::vector<Member>& all, int target, int g) const {
  if (!reaches(dependencies(all, false), {target, g})) return std::nullopt;
  for (const Member& m : all)
    for (NodeId o : node(m.node).operands)
      if (o.present() && !holds(all, o) && reaches(writers_of(o), {target, g}))
        return Reason{ReasonCode::Circle,
                      fmt::format("{} reads {}, which waits for what the two leave", node(m.node).name, node(o).name)};
  return Reason{ReasonCode::Circle, "one waits for what memory holds of the other"};
}

std::vector<Member> Fuser::both(int target, const std::vector<Member>& added) const {
  std::vector<Member> all = groups_[target].members;
  for (const Member& m : added) all = merged(all, {}, m);
  return all;
}

std::vector<Member> Fuser::turned(int g, std::optional<bool> reverse) const {
  std::vector<Member> members = groups_[g].members;
  const bool own = std::any_of(members.begin(), members.end(), [&](const Member& m) {
    const int home = home_[state_source(m.node).index];  // where it must run whole when it is resumed here
    return is_directional(node(m.node).op) && (home == g || !holds(groups_[home].members, state_source(m.node)));
  });
  if (own || !reverse) return members;
  for (Member& m : members)
    if (is_directional(node(m.node).op)) m.resumed = is_backward(m.node) != *reverse;
  return members;
}

bool Fuser::reaches(const std::set<int>& from, const std::set<int>& to) const {
  std::set<int> seen = from;
  std::vector<int> stack(from.begin(), from.end());
  while (!stack.empty()) {
    const int current = stack.back();
    stack.pop_back();
    if (to.count(current)) return true;
    for (int d : dependencies(current))
      if (seen.insert(d).second) stack.push_back(d);
  }
  return false;
}

bool Fuser::is_fixed(int g) const {
  return std::all_of(groups_[g].members.begin(), groups_[g].members.end(), [&](const Member& m) {
    return std::none_of(graph_.dims().begin(), graph_.dims().end(), [&](const Dim& d) {
      return d.is_free() && touches(graph_, node(m.node), DimId{static_cast<uint32_t>(&d - graph_.dims().data())});
    });
  });
}

bool Fuser::is_walk(int g) const {
  return std::any_of(groups_[g].members.begin(), groups_[g].members.end(),
                     [&](const Member& m) { return is_directional(node(m.node).op); });
}

std::set<int> Fuser::dependencies(const std::vector<Member>& members, bool library) const {
  std::set<int> found;
  for (const Member& m : members) {
    if (restarts(m, members)) found.insert(home_[state_source(m.node).index]);
    for (NodeId o : operands_of(m, members))
      if (library || !holds(members, o)) found.merge(writers_of(o));
  }
  return found;
}

std::set<int> Fuser::writers_of(NodeId id) const {
  std::set<int> found;
  std::vector<NodeId> stack{id};
  while (!stack.empty()) {
    const NodeId current = view_root(stack.back());
    stack.pop_back();
    if (is_join(node(current)) || is_after(current))
      stack.insert(stack.end(), node(current).operands.begin(), node(current).operands.end());
    else if (home_[current.index] >= 0)
      found.insert(home_[current.index]);
  }
  return found;
}

std::set<int> Fuser::dependencies(int g) const {
  std::set<int> found = dependencies(groups_[g].members, groups_[g].library);
  found.erase(g);
  return found;
}

}  // namespace mambac
