#include "codegen/phases.h"

#include <algorithm>

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

}  // namespace

PhasePlan plan_phases(const Graph& graph, const std::vector<NodeId>& nodes, const PhaseRules& rules) {
  PhasePlan plan;
  for (NodeId id : nodes) {
    PhaseSlot earliest;
    for (NodeId o : graph.node(id).operands) {
      auto placed = plan.slots.find(o);
      if (!o.present() || placed == plan.slots.end()) continue;
      PhaseSlot from = placed->second;
      if (rules.after_phase(id, o))
        from = {from.phase + 1, 0};
      else if (rules.after_sweep(o))
        ++from.sweep;
      earliest = std::max(earliest, from);
    }
    const std::vector<DimId> inner = rules.inner(id);
    int p = earliest.phase;
    while (p < static_cast<int>(plan.phases.size()) && plan.phases[static_cast<size_t>(p)].inner != inner) ++p;
    if (p == static_cast<int>(plan.phases.size())) plan.phases.push_back({inner, {}});
    Phase& phase = plan.phases[static_cast<size_t>(p)];
    const int s = sweep_for(phase, p == earliest.phase ? earliest.sweep : 0, rules.against(id));
    phase.sweeps[static_cast<size_t>(s)].nodes.push_back(id);
    plan.slots[id] = {p, s};
  }
  return plan;
}

}  // namespace mambac
