// Graphs whose walks every schedule is tried on, for tests of schedules.
#pragma once

#include "tests/random_values.h"

namespace mambac::test {

struct Case {
  Graph graph;
  Ranges ranges;
};

/// A whole layer with a state before and after, and packed sequences. `channels`: 37 are five lane blocks of a width of
/// 8, the last one short.
Case mixer_case(int64_t channels = 37, int64_t states = 3);
Case mixer_gradients_case(int64_t channels = 19, int64_t states = 3);

/// Two scans in one kernel that know nothing of each other: one of [D], with a decay that stands still and a computed
/// start, and one without lanes. `reverse`: both from the end, with packed sequences.
Case scans_case(bool reverse, int64_t channels = 21);

/// From the end, with states that are summed: y[b, t, d] = sum_n h[b, t, d, n] c[b, t, n].
Case reverse_states_case(int64_t channels = 21, int64_t states = 3);

/// Growth out of nothing: decays of some 4, and an input that is 0 but for the walk's last steps. Long before these a
/// product of decays is beyond f32, while the state is 0.
Case growth_case(bool reverse, int64_t channels);
Arrays growth_values(const Case& growth, const Bindings& bindings, bool reverse);

/// A window of an input, one of what is made of it, and a delay of that, in one kernel; sums over time, and the end.
/// `packed`: with a history, and sequences that begin within.
Case windows_case(int64_t taps, bool packed, int64_t channels = 21);

Case gradients_of(Case c);

/// Into kernels, as by default.
Graph fused(const Graph& graph);
/// The kernel that computes the first node of this op.
int kernel_of(const Graph& fused, Op op);

}  // namespace mambac::test
