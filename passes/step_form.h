// From a graph over a whole sequence to one step of it, and the state that both share.
#pragma once

#include "ir/graph.h"

namespace mambac {

/// One step of `walk`: the graph without that dimension. Each scan, delay and window along it becomes its recurrence
/// over an input "state.<n>.<node>" (n counts them in order), whose value for the next step is the output
/// "state.<n>.<node>.next" of the same type. An index along it is such a state, too, the number of steps so far (f32,
/// exact up to 2^24). A delay whose state is a scan's, and all indices but the first, have none of their own
/// (state_source in ir/step.h). An operand `start` is not read: it is the state before the first step, see
/// initial_state(). The last value along `walk` is the one of this step.
///
/// Generation costs the same at every position this way, and the state is all that has to be kept, cloned or saved.
/// NoStepForm (ir/step.h), at the location of the op, when it has no step form: it runs from the end, or needs all
/// steps, or the last one, at once.
Graph step_form(const Graph& graph, DimId walk);

/// The whole-sequence graph (prefill) with the same state: the same inputs, which take the place of `start` operands
/// where those are given, and the same outputs, the state after the last step. So a sequence may be cut anywhere into
/// prefills and steps, where the graph has a step form. Both functions must be given the same graph.
Graph expose_state(const Graph& graph, DimId walk);

/// The states before the first step that are not all 0: outputs "state.<n>.<node>" with the values of the `start`
/// operands. No outputs when there are none.
Graph initial_state(const Graph& graph, DimId walk);

}  // namespace mambac
