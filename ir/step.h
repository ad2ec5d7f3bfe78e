// The step rules of the op table: what an op becomes in one time step of a recurrent graph.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "ir/builder.h"
#include "ir/error.h"

namespace mambac {

/// There is no step form of a graph; the message says of which op, and why.
class NoStepForm : public InputError {
 public:
  using InputError::InputError;
};

/// The recurrence whose state, at every step and before the first, is that of this one: of a delay of a scan's result,
/// in its direction and with its start, the scan; of an index along a dimension the first such; else itself.
NodeId state_source(const Graph& graph, NodeId recurrence);

/// NoStepForm at the recurrence's location when its operand `start`, which is there before the first step, is made of
/// values along `walk`.
void check_start(const Graph& graph, NodeId recurrence, DimId walk);

/// One piece of state that a step graph carries from step to step.
struct StateSlot {
  std::string name;  // "state.0": an input of the step graph; "state.0.next" is the output that replaces it
  NodeId origin;     // in the graph over the walked dimension: the scan, delay, window or index it belongs to
  NodeId now;        // in the step graph: the input
  NodeId next;       // in the step graph: the value of the output. Same type as `now`.
};

/// What the step rules collect. The slots are in the order of their nodes in the origin graph, so that a state written
/// by the graph over the walked dimension fits: its value after the last step is, for a scan or a window, the
/// result's last entry, for a delay the operand's last entry, and for an index the number of steps so far. Its value
/// before the first step is the operand `start` of the origin, 0 when absent.
struct StepState {
  std::vector<StateSlot> slots;
  std::set<NodeId> ends;  // values of the origin graph that are made of a last step: each step would have another one
};

/// Appends to `out` what `node` of `from` is at one step of `walk`; `mapped` gives what its operands became. Values
/// lose the dimension `walk`; the dimensions of `out` are those of `from`, by the same ids.
///
/// NoStepForm at the node's location when the op has no step form: it runs from the end, or needs all steps, or the last
/// one, at once.
NodeId step(Builder& out, const Graph& from, NodeId node, DimId walk, const std::function<NodeId(NodeId)>& mapped,
            StepState& state);

}  // namespace mambac
