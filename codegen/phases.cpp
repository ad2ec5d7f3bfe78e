#include "codegen/phases.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace mambac {

namespace {

/// The first sweep of the phase, from `first` on, in which the node can run; a new one when there is none.
int sweep_for(Phase& phase, int first, std::optional<bool> against) {
  for (int s = first; s < static_cast<int>(phase.sweeps.size()); ++s) {
    Sweep& sweep = phase.sweeps[static_cast<size_t>(s)];
    if (!against) return s;
    if (!sweep.against) sweep.against = against;
    if (sweep.against == against) return s;
  }
  phase.sweeps.push_back({against, {}});
  return static_cast<int>(phase.sweeps.size()) - 1;
}

/// The earliest slot of every node that the rules allow.
class Earliest {
 public:
  Earliest(const Graph& graph, const PhaseRules& rules) : graph_(graph), rules_(rules) {}

  void place(NodeId id) {
    PhaseSlot slot = after_operands(id);
    const std::vector<DimId> inner = rules_.inner(id);
    const int first = slot.phase;
    while (slot.phase < static_cast<int>(plan.phases.size()) && phase(slot).inner != inner) ++slot.phase;
    if (slot.phase == static_cast<int>(plan.phases.size())) plan.phases.push_back({inner, {}});
    slot.sweep = sweep_for(phase(slot), slot.phase == first ? slot.sweep : 0, rules_.against(id));
    plan.slots[id] = slot;
  }

  PhasePlan plan;  // without the nodes of its sweeps

 private:
  PhaseSlot after_operands(NodeId id) const {
    PhaseSlot earliest;
    for (NodeId o : graph_.node(id).operands) {
      auto placed = plan.slots.find(o);
      if (!o.present() || placed == plan.slots.end()) continue;
      PhaseSlot from = placed->second;
      if (rules_.after_phase(id, o))
        from = {from.phase + 1, 0};
      else if (rules_.after_sweep(o))
        ++from.sweep;
      earliest = std::max(earliest, from);
    }
    return earliest;
  }

  Phase& phase(PhaseSlot slot) { return plan.phases[static_cast<size_t>(slot.phase)]; }

  const Graph& graph_;
  const PhaseRules& rules_;
};

/// Moves nodes within inner loops to the phases of their readers: what lies between phases is an array over the steps of
/// a tile and these loops. Without such loops it is a register for each step, and nothing is gained.
class Later {
 public:
  Later(const Graph& graph, const std::vector<NodeId>& nodes, const PhaseRules& rules, PhasePlan& plan)
      : graph_(graph), rules_(rules), plan_(plan) {
    for (NodeId id : nodes)
      for (NodeId o : graph.node(id).operands)
        if (o.present() && plan.slots.contains(o)) readers_[o].push_back(id);
  }

  void move(NodeId id) {
    const std::vector<DimId> inner = rules_.inner(id);
    if (inner.empty() || !readers_.contains(id) || rules_.against(id)) return;
    PhaseSlot to = before_readers(id);
    const PhaseSlot from = plan_.slots.at(id);
    for (; to.phase > from.phase; --to.phase, to.sweep = last_sweep(to.phase))
      if (inner_of(to.phase) == inner) break;
    if (to.phase <= from.phase || !may_read_operands(id, to.phase)) return;
    plan_.slots[id] = to;
  }

 private:
  PhaseSlot before_readers(NodeId id) const {
    PhaseSlot latest{std::numeric_limits<int>::max(), 0};
    for (NodeId r : readers_.at(id)) {
      PhaseSlot to = plan_.slots.at(r);
      if (rules_.after_phase(r, id) || (to.sweep == 0 && rules_.after_sweep(id)))
        to = {to.phase - 1, last_sweep(to.phase - 1)};
      else if (rules_.after_sweep(id))
        --to.sweep;
      latest = std::min(latest, to);
    }
    return latest;
  }

  bool may_read_operands(NodeId reader, int phase) const {
    return std::ranges::all_of(graph_.node(reader).operands, [&](NodeId o) {
      return !o.present() || !plan_.slots.contains(o) || may_be_read(o, reader, phase);
    });
  }

  /// Whether no array lives longer when `reader` reads the value in a later phase: others read it there in any case,
  /// or it can move along, or it has fewer loops than the reader's result, which lives shorter then.
  bool may_be_read(NodeId id, NodeId reader, int phase) const {
    const std::vector<NodeId>& readers = readers_.at(id);
    const auto reads_there = [&](NodeId r) { return r != reader && plan_.slots.at(r).phase >= phase; };
    if (std::ranges::any_of(readers, reads_there)) return true;
    const std::vector<DimId> inner = rules_.inner(id), &loops = inner_of(phase);
    if (inner != loops) return inner.size() < loops.size() && std::ranges::includes(loops, inner);
    const bool alone = std::ranges::all_of(readers, [&](NodeId r) { return r == reader; });
    return alone && !rules_.against(id) && !rules_.after_phase(reader, id) && !rules_.after_sweep(id) &&
           may_read_operands(id, phase);
  }

  const std::vector<DimId>& inner_of(int phase) const { return plan_.phases[static_cast<size_t>(phase)].inner; }
  int last_sweep(int phase) const {
    return phase < 0 ? 0 : static_cast<int>(plan_.phases[static_cast<size_t>(phase)].sweeps.size()) - 1;
  }

  const Graph& graph_;
  const PhaseRules& rules_;
  PhasePlan& plan_;
  std::map<NodeId, std::vector<NodeId>> readers_;
};

/// Writes the nodes into their sweeps, in their order, and leaves out what has none.
PhasePlan filled(PhasePlan plan, const std::vector<NodeId>& nodes) {
  for (NodeId id : nodes) {
    const PhaseSlot slot = plan.slots.at(id);
    plan.phases[static_cast<size_t>(slot.phase)].sweeps[static_cast<size_t>(slot.sweep)].nodes.push_back(id);
  }
  for (Phase& phase : plan.phases) std::erase_if(phase.sweeps, [](const Sweep& sweep) { return sweep.nodes.empty(); });
  std::erase_if(plan.phases, [](const Phase& phase) { return phase.sweeps.empty(); });
  for (PhaseSlot slot; slot.phase < static_cast<int>(plan.phases.size()); ++slot.phase, slot.sweep = 0)
    for (const Sweep& sweep : plan.phases[static_cast<size_t>(slot.phase)].sweeps) {
      for (NodeId id : sweep.nodes) plan.slots[id] = slot;
      ++slot.sweep;
    }
  return plan;
}

}  // namespace

PhasePlan plan_phases(const Graph& graph, const std::vector<NodeId>& nodes, const PhaseRules& rules) {
  Earliest earliest(graph, rules);
  for (NodeId id : nodes) earliest.place(id);
  Later later(graph, nodes, rules, earliest.plan);
  for (auto id = nodes.rbegin(); id != nodes.rend(); ++id) later.move(*id);
  return filled(std::move(earliest.plan), nodes);
}

}  // namespace mambac
