// Passes against the graphs that they were given: what a graph computes is the same after each.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ir/eval.h"

namespace mambac::tools {

/// A graph and the stage of the pipeline after which it stands.
struct StageGraph {
  std::string stage;
  Graph graph;
};

/// What a pass changed that it must not.
struct WrongPass {
  std::string pass;
  NodeId node;  // of the graph after it
  std::string place;
  double before = 0, after = 0;
};

/// How far the values of two graphs may be apart in float64, of the root mean square of a value.
constexpr double kPassTolerance = 1e-9;

/// Evaluates the graphs one after the other in float64 and compares the outputs that neighbours share. Those that have
/// other inputs than the last one (of a step, the graphs of whole sequences before it) are left out. A name means one
/// value in all of them: the first value of another value than that of its name before is named, or else the output.
/// `inputs` by node name. `done` is told how many graphs were evaluated.
std::optional<WrongPass> find_wrong_pass(const std::vector<StageGraph>& stages, const Bindings& sizes,
                                         const Arrays& inputs, const std::function<void(size_t)>& done);

}  // namespace mambac::tools
