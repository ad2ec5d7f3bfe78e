// What must hold for the recurrences of a fused graph, whatever the model.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace mambac::test {

/// The nodes between the last large contraction before a recurrence and the first one after it, with names.
struct MixerCore {
  NodeId scan;
  std::vector<NodeId> nodes;  // depend on the former and are needed by the latter
};

/// One for every recurrence that runs forward and is not made again.
std::vector<MixerCore> mixer_cores(const Graph& fused);

/// Values in memory with steps and all static dimensions of a recurrence that has two or more, other than states at
/// tiles; by name.
std::vector<std::string> stored_states(const Graph& fused);

}  // namespace mambac::test
