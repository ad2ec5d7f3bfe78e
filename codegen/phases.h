// The order of work inside one tile of a kernel: phases (one nest of inner loops each) made of sweeps (one pass over
// the tile's steps each).
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "ir/graph.h"

namespace mambac {

struct Sweep {
  std::optional<bool> against;  // steps run against the walk; not set: either way
  std::vector<NodeId> nodes;
};

struct Phase {
  std::vector<DimId> inner;  // sorted
  std::vector<Sweep> sweeps;
};

struct PhaseSlot {
  int phase = 0;
  int sweep = 0;
  auto operator<=>(const PhaseSlot&) const = default;
};

struct PhasePlan {
  std::vector<Phase> phases;
  std::map<NodeId, PhaseSlot> slots;
};

struct PhaseRules {
  /// The inner loops a node runs in, sorted.
  std::function<std::vector<DimId>(NodeId)> inner;
  /// Set for recurrences: whether they run against the walk.
  std::function<std::optional<bool>(NodeId)> against;
  /// True when the reader needs the operand's whole phase to be over: the operand is a sum over inner loops, or the
  /// reader looks at another index of them.
  std::function<bool(NodeId reader, NodeId operand)> after_phase;
  /// Whether a value is known for no step before its sweep has been through all of them.
  std::function<bool(NodeId operand)> after_sweep = [](NodeId) { return false; };
};

/// Nodes in topological order. Each gets the earliest slot that the rules allow, or a later one, in the phase of its
/// readers, where that leaves less between phases.
PhasePlan plan_phases(const Graph& graph, const std::vector<NodeId>& nodes, const PhaseRules& rules);

}  // namespace mambac
