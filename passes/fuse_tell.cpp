// What stopped fusion, told when all groups are settled.
#include <fmt/format.h>

#include <algorithm>

#include "passes/fuser.h"

namespace mambac {

// ---- remarks -------------------------------------------------------------------------------------------------------

bool Fuser::still_holds(const Break& found) const {
  const int g = home_[found.reader.index];
  if (g < 0) return found.value.present();  // a view, which is cut in memory
  const std::vector<Member>& members = groups_[g].members;
  if (!holds(members, found.reader)) return false;
  if (found.value.present()) return !holds(members, found.value);
  return std::any_of(node(found.reader).operands.begin(), node(found.reader).operands.end(), [&](NodeId o) {
    if (!o.present() || is_source(view_root(o))) return false;
    const int home = home_[o.index];  // another kernel that has it as well, or had it only for this reader
    return !holds(members, o) || (home >= 0 && home != g && holds(groups_[home].members, o));
  });
}

void Fuser::remark(Outcome outcome, NodeId id, const Location& location, ReasonCode code, std::string text) {
  remarks_.push_back({"fuse", outcome, code, location, node(id).op, node(id).name, std::move(text)});
}

void Fuser::write_remarks() {
  for (const Break& found : breaks_) {
    if (!still_holds(found)) continue;
    const Node& reader = node(found.reader);
    const bool stored = found.value.present();
    remark(found.outcome, stored ? found.value : found.reader, reader.location, found.why.code,
           stored ? fmt::format("stored with all its dimensions for {}: {}", reader.name, found.why.text)
                  : found.why.text);
  }
  remark_repeated_walks();
}

void Fuser::remark_repeated_walks() {
  std::map<NodeId, std::vector<int>> whole, resumed;
  for (size_t g = 0; g < groups_.size(); ++g)
    for (const Member& m : groups_[g].members)
      if (node(m.node).op == Op::Scan) (m.resumed ? resumed : whole)[m.node].push_back(static_cast<int>(g));
  for (const auto* walks : {&whole, &resumed})
    for (const auto& [id, holders] : *walks) {
      if (holders.size() < 2) continue;
      std::vector<Member> all;
      for (int g : holders)
        for (const Member& m : groups_[g].members) all = merged(all, {}, m);
      Why why = Reason{ReasonCode::Circle, "they wait for each other"};
      describe(all, &why);
      remark(Outcome::Again, id, node(id).location, why->code,
             fmt::format("walked by {} kernels: {}", holders.size(), why->text));
    }
}

// ---- neighbours ----------------------------------------------------------------------------------------------------

std::vector<Apart> Fuser::apart() const {
  const std::vector<int> order = unit_order();
  std::map<int, int> number;  // of a group: its kernel
  for (size_t i = 0; i < order.size(); ++i) number[order[i]] = static_cast<int>(i);
  const std::vector<std::set<int>> readers = readers_of_groups();
  std::map<std::pair<int, int>, Reason> found;
  for (int consumer : order)
    for (int producer : dependencies(consumer))
      found.emplace(std::pair{number.at(producer), number.at(consumer)},
                    why_apart(producer, consumer, readers[static_cast<size_t>(producer)]));
  std::vector<Apart> pairs;
  for (auto& [kernels, reason] : found) pairs.push_back({kernels.first, kernels.second, std::move(reason)});
  return pairs;
}

Reason Fuser::why_apart(int producer, int consumer, const std::set<int>& readers) const {
  for (int g : {producer, consumer})
    if (groups_[g].library)
      return {ReasonCode::LibraryCall,
              fmt::format("{} is a call of the library", node(groups_[g].members[0].node).name)};
  if (Why memory = why_through_memory(producer, consumer)) return *memory;
  if (Why loops = why_no_loops(producer, consumer)) return *loops;
  if (groups_[producer].split || groups_[consumer].split)
    return {ReasonCode::WasSplit, "one is a piece of a kernel that was split"};
  if (readers.count(kOutside))
    return {ReasonCode::ReadOutside, "what the producer leaves is read outside of generated kernels, too"};
  if (readers.size() > 1)
    return {ReasonCode::OtherReader, fmt::format("{} kernels read what the producer leaves", readers.size())};
  throw InternalError("fuse: two kernels are apart without a reason");
}

Why Fuser::why_no_loops(int producer, int consumer) const {
  Why why;
  const std::vector<Member> all = both(consumer, groups_[producer].members);
  if (can_be_one({producer, consumer}, all, &why)) return why_in_circle(all, producer, consumer);
  const bool share_wide = std::ranges::any_of(groups_[producer].members, [&](const Member& m) {
    return widths_.wide(m.node) && holds(groups_[consumer].members, m.node);
  });
  const bool turned = share_wide && worth_uniting(producer, consumer) &&  // what unite() looks for
                      (may_be_united(consumer, producer, &why) || may_be_united(producer, consumer, &why));
  return turned ? std::nullopt : why;
}

Why Fuser::why_through_memory(int producer, int consumer) const {
  for (const Member& m : groups_[consumer].members)
    for (NodeId o : node(m.node).operands) {
      if (!o.present() || holds(groups_[consumer].members, o) || !writers_of(o).count(producer)) continue;
      if (Why memory = why_in_memory(o)) return memory;
    }
  return std::nullopt;
}

}  // namespace mambac
