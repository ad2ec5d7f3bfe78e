#include "passes/step_form.h"

#include <fmt/format.h>

#include <map>

#include "ir/builder.h"
#include "ir/dims.h"
#include "ir/step.h"
#include "passes/rewrite.h"

namespace mambac {

namespace {

Graph live(Graph graph) {
  graph.remove_dead();
  return graph;
}

std::string state_name(size_t number, const Node& origin) {
  return fmt::format("state.{}.{}", number, origin.name);
}

/// Whether the op carries something from one step of `walk` to the next: an index along it the number of steps.
bool has_state(const Node& node, DimId walk) {
  bool recurrence = node.op == Op::Scan || node.op == Op::Delay || node.op == Op::Window || node.op == Op::Iota;
  return recurrence && !node.attrs.reverse && node.attrs.dims[0] == walk;
}

/// Whether that is a state of its own: a delay may have a scan's, and indices share one.
bool owns_state(const Graph& graph, NodeId id, DimId walk) {
  return has_state(graph.node(id), walk) && state_source(graph, id) == id;
}

/// What is carried of the node: its last result, or of a delay its last operand.
NodeId carried(const Graph& graph, NodeId id) {
  return graph.node(id).op == Op::Delay ? operand(graph.node(id), "x") : id;
}

Type state_type(const Graph& graph, NodeId id, DimId walk) {
  const Type& type = graph.node(carried(graph, id)).type;
  return {type.dtype, without(type.dims, {walk})};
}

/// The node, from the state `now` on.
NodeId resumed(Builder& builder, Node node, NodeId now) {
  if (node.op == Op::Iota) return builder.Add(builder.graph().append(std::move(node)), now);
  node.operands[static_cast<size_t>(operand_index(node.op, "start"))] = now;
  return builder.graph().append(std::move(node));
}

/// The graph with some of its inputs under other names.
Graph renamed(const Graph& graph, const std::map<NodeId, std::string>& names) {
  Rewriter rewriter(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node node = rewriter.translated({i});
    if (auto found = names.find({i}); found != names.end()) node.name = found->second;
    rewriter.map({i}, rewriter.to.append(std::move(node)));
  }
  rewriter.copy_outputs();
  return std::move(rewriter.to);
}

}  // namespace

Graph step_form(const Graph& graph, DimId walk) {
  const Graph from = live(graph);
  Rewriter rewriter(from);
  Builder builder(rewriter.to);
  StepState state;
  auto mapped = [&](NodeId old) { return rewriter.mapped(old); };
  for (uint32_t i = 0; i < from.size(); ++i) rewriter.map({i}, step(builder, from, {i}, walk, mapped, state));
  rewriter.to.outputs().clear();  // the states, which come last here, and under the names of their origins
  rewriter.copy_outputs();
  std::map<NodeId, std::string> names;
  for (size_t n = 0; n < state.slots.size(); ++n) {
    const StateSlot& slot = state.slots[n];
    names[slot.now] = state_name(n, from.node(slot.origin));
    rewriter.to.outputs().push_back({names[slot.now] + ".next", slot.next});
  }
  Graph result = renamed(rewriter.take(), names);
  result.remove_dead();
  return result;
}

Graph expose_state(const Graph& graph, DimId walk) {
  const Graph from = live(graph);
  Rewriter rewriter(from);
  Builder builder(rewriter.to);
  std::vector<Output> states;
  std::map<NodeId, NodeId> inputs;  // by what the state is of
  for (uint32_t i = 0; i < from.size(); ++i) {
    Node node = rewriter.translated({i});
    builder.hint = node.name;
    builder.location = node.location;
    if (!has_state(node, walk)) {
      rewriter.map({i}, rewriter.to.append(std::move(node)));
      continue;
    }
    check_start(from, {i}, walk);
    NodeId& now = inputs[state_source(from, {i})];
    const std::string name = state_name(states.size(), from.nodes()[i]);
    if (owns_state(from, {i}, walk)) now = builder.input(name, state_type(from, {i}, walk));
    rewriter.map({i}, resumed(builder, std::move(node), now));
    if (!owns_state(from, {i}, walk)) continue;
    builder.hint = name + ".next";
    const NodeId next = from.nodes()[i].op == Op::Iota ? builder.Add(now, builder.op(Op::Extent, {}, {.dims = {walk}}))
                                                       : builder.at(rewriter.mapped(carried(from, {i})), walk, -1);
    states.push_back({name + ".next", next});
  }
  rewriter.copy_outputs();
  for (Output& state : states) rewriter.to.outputs().push_back(std::move(state));
  return rewriter.take();
}

Graph initial_state(const Graph& graph, DimId walk) {
  Graph result = live(graph);
  std::vector<Output> states;
  size_t number = 0;
  Builder builder(result);
  const size_t size = result.size();
  for (uint32_t i = 0; i < size; ++i) {
    if (!owns_state(result, {i}, walk)) continue;
    const std::string name = state_name(number++, result.nodes()[i]);
    const NodeId start = operand(result.nodes()[i], "start");
    if (!start.present()) continue;
    const Type type = state_type(result, {i}, walk);
    builder.hint = name;
    states.push_back({name, with_dims(builder, start, type.dims)});
  }
  result.outputs() = std::move(states);
  result.remove_dead();
  return result;
}

}  // namespace mambac
