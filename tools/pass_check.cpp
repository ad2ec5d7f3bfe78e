#include "tools/pass_check.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "tools/port_values.h"
#include "tools/value_check.h"

namespace mambac::tools {
namespace {

std::set<std::string> inputs_of(const Graph& graph) {
  std::set<std::string> inputs;
  for (const Node& node : graph.nodes())
    if (node.op == Op::Input) inputs.insert(node.name + ": " + type_text(graph, node.type));
  return inputs;
}

/// An element in which the values differ.
std::optional<size_t> differing(const Array& before, const Array& after) {
  const double tolerance = kPassTolerance * root_mean_square(before.data);
  for (size_t i = 0; i < before.data.size(); ++i)
    if (difference(after.data[i], before.data[i]) > tolerance) return i;
  return std::nullopt;
}

/// The first output that both have and that differs.
const Output* differing_output(const Graph& graph, const Arrays& before, const Arrays& after) {
  for (const Output& output : graph.outputs()) {
    const auto found = before.find(output.name);
    if (found == before.end() || found->second.shape != after.at(output.name).shape) continue;
    if (differing(found->second, after.at(output.name))) return &output;
  }
  return nullptr;
}

/// All values of a graph, each an output of its name.
Arrays all_values(Graph graph, const Bindings& sizes, const Arrays& inputs) {
  graph.outputs().clear();
  for (uint32_t i = 0; i < graph.size(); ++i) graph.outputs().push_back({graph.node(NodeId{i}).name, NodeId{i}});
  return evaluate(graph, sizes, inputs);
}

WrongPass describe(const StageGraph& stage, NodeId node, const Array& before, const Array& after) {
  const size_t element = *differing(before, after);
  return {stage.stage, node, place_text(before.shape, element), before.data[element], after.data[element]};
}

/// The first value that differs from the one of its name before.
std::optional<WrongPass> first_difference(const StageGraph& before, const StageGraph& after, const Bindings& sizes,
                                          const Arrays& inputs) {
  const Arrays old = all_values(before.graph, sizes, inputs), now = all_values(after.graph, sizes, inputs);
  for (uint32_t i = 0; i < after.graph.size(); ++i) {
    const std::string& name = after.graph.node(NodeId{i}).name;
    const auto found = old.find(name);
    if (found == old.end() || found->second.shape != now.at(name).shape) continue;
    if (differing(found->second, now.at(name))) return describe(after, NodeId{i}, found->second, now.at(name));
  }
  return std::nullopt;
}

}  // namespace

std::optional<WrongPass> find_wrong_pass(const std::vector<StageGraph>& stages, const Bindings& sizes,
                                         const Arrays& inputs, const std::function<void(size_t)>& done) {
  Arrays before;
  for (size_t i = 0; i < stages.size(); ++i) {
    if (inputs_of(stages[i].graph) != inputs_of(stages.back().graph)) continue;
    Arrays after = evaluate(stages[i].graph, sizes, inputs);
    if (const Output* output = differing_output(stages[i].graph, before, after)) {
      const auto first = first_difference(stages[i - 1], stages[i], sizes, inputs);
      return first ? first : describe(stages[i], output->value, before.at(output->name), after.at(output->name));
    }
    before = std::move(after);
    done(i + 1);
  }
  return std::nullopt;
}

}  // namespace mambac::tools
