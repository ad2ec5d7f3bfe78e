// Recurrences that nobody wrote: what fusion has to cope with when it knows no model by name.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/random_values.h"

namespace mambac::test {

enum class DecayScope : uint8_t { scalar, step, channel, state };  // [], [B, L], with D, with N
enum class NormKind : uint8_t { none, rms, layer };

/// One recurrence of a stranger.
struct StrangerScan {
  DecayScope scope = DecayScope::channel;
  bool varying = true;  // the decay changes with the input (not of a scalar)
  int decay_form = 0;   // which function makes a number below 1 of it
  int input_form = 0;   // what the input is multiplied by
  int read_form = 0;    // how the state is read
  bool reverse = false;
  bool start = false;  // an initial state h0
  bool last = false;   // the last state is an output
};

/// What a stranger is: everything that decides about its kernels.
struct StrangerPlan {
  uint64_t seed = 0;     // of its expressions and operand orders
  int64_t channels = 8;  // D
  int64_t states = 0;    // N; 0: there is none
  int64_t rank = 0;      // R of a small contraction that makes the decay's data; 0: there is none
  NormKind before = NormKind::none, between = NormKind::none, after = NormKind::none;
  bool projections = false;         // large contractions E -> D at the beginning and D -> E at the end
  std::vector<StrangerScan> scans;  // one, or two in a chain
  bool starts = false, skip = false, gate = false, residual = false;

  /// One line.
  std::string str() const;
};

/// The rule that fusion is held to, counted from the plan alone, library calls not counted:
///
///   one kernel per scan
///   + one per norm: it reduces over D, so what it reads and what reads it cannot share a walk
///   + one when something follows the closing large contraction (the residual)
///
/// Everything else (decay, input, small contraction, read-out over N, skip, gate, a residual that no contraction
/// separates, initial and last states) lies in one of those.
int most_kernels(const StrangerPlan& plan);

/// The stricter count, in which neighbouring scans of one direction without a norm between them share one walk.
int fewest_kernels(const StrangerPlan& plan);

struct Stranger {
  std::string name;
  std::string text;  // the plan, or what a hand-written one is
  Graph graph;       // forward: inputs and parameters to outputs "out", "last0", "last1"
  Bindings bindings;
  Ranges ranges;  // for draw_values
  int most_kernels = 0;
  int fewest_kernels = 0;
};

StrangerPlan draw_plan(uint64_t seed);
Stranger make_stranger(const StrangerPlan& plan);
inline Stranger stranger(uint64_t seed) {
  return make_stranger(draw_plan(seed));
}

/// Written by hand: a diagonal complex SSM as pairs of reals, an LRU with a gate on its input only, a scan feeding a
/// scan, a recurrence without N whose input is a norm's output, a decay from a softmax over N, a plane walked along
/// both sides, a gated matrix memory with its normaliser, heads between projections, very many heads, a filter without
/// channels before a recurrence of few, one for each head, a plane walked in four directions, and one without channels.
std::vector<Stranger> handwritten_strangers();
Stranger handwritten_stranger(const std::string& name);

}  // namespace mambac::test
