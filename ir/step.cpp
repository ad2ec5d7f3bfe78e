// The step rules of the op table: one function step_X per name X in its `step` column.
#include "ir/step.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/dims.h"

namespace mambac {

namespace {

[[noreturn]] void no_step_form(const Node& node, const Dim& walk, const std::string& reason) {
  throw NoStepForm(node.location, fmt::format("{} '{}' has no step form along {}: {}", name_of(node.op), node.name,
                                              walk.name, reason));
}

/// Whether the value is made of what has the dimension.
bool made_along(const Graph& graph, NodeId value, DimId dim) {
  std::vector<bool> seen(graph.size());
  std::vector<NodeId> open{value};
  while (!open.empty()) {
    const NodeId id = open.back();
    open.pop_back();
    if (seen[id.index]) continue;
    seen[id.index] = true;
    const Node& node = graph.node(id);
    if (node.type.has(dim)) return true;
    for (NodeId o : node.operands)
      if (o.present()) open.push_back(o);
  }
  return false;
}

struct StepRule {
  Builder& b;
  const Graph& from;
  NodeId id;
  const Node& node;
  DimId walk;
  const std::function<NodeId(NodeId)>& mapped;
  StepState& state;

  [[noreturn]] void fail(const std::string& reason) const { no_step_form(node, from.dim(walk), reason); }
  NodeId operand(std::string_view name) const {
    NodeId found = mambac::operand(node, name);
    return found.present() ? mapped(found) : NodeId{};
  }
  bool walks() const { return contains(node.attrs.dims, walk); }
  Type step_type(Type type) const {
    type.dims = without(type.dims, {walk});
    return type;
  }
};

/// The op itself, on what its operands became.
NodeId unchanged(StepRule& rule) {
  Node copy = rule.node;
  copy.type = rule.step_type(rule.node.type);
  for (NodeId& operand : copy.operands) {
    if (operand.present()) operand = rule.mapped(operand);
  }
  return rule.b.graph().append(std::move(copy));
}

/// The value in the element type of the state.
NodeId stored_as_state(StepRule& rule, const StateSlot& slot, NodeId value) {
  const DType stored = rule.b.graph().node(slot.now).type.dtype;
  return rule.b.graph().node(value).type.dtype == stored ? value : rule.b.cast(value, stored);
}

/// The value that the step before left behind, 0 where a packed sequence starts with this step.
NodeId remembered(StepRule& rule, StateSlot& slot) {
  NodeId starts = rule.operand("starts");
  return starts.present() ? stored_as_state(rule, slot, rule.b.Select(starts, rule.b.constant(0), slot.now)) : slot.now;
}

/// A new piece of state for this node.
StateSlot open_slot(StepRule& rule) {
  if (rule.node.attrs.reverse) rule.fail("it runs from the end");
  check_start(rule.from, rule.id, rule.walk);
  StateSlot slot;
  slot.name = fmt::format("state.{}", rule.state.slots.size());
  slot.origin = rule.id;
  slot.now = rule.b.input(slot.name, rule.step_type(rule.node.type));
  return slot;
}

void close_slot(StepRule& rule, StateSlot slot, NodeId next) {
  Graph& graph = rule.b.graph();
  slot.next = stored_as_state(rule, slot, next);
  graph.outputs().push_back({slot.name + ".next", slot.next});
  rule.state.slots.push_back(std::move(slot));
}

/// What is made of a last step is so, too, and cannot be there at every step. (Of a start check_start() decides.)
void find_end(StepRule& rule) {
  const NodeId start = mambac::operand(rule.node, "start");
  const auto is_end = [&](NodeId o) { return o != start && rule.state.ends.contains(o); };
  if (std::ranges::none_of(rule.node.operands, is_end)) return;
  if (rule.node.type.has(rule.walk)) rule.fail("it needs the last step at every step");
  rule.state.ends.insert(rule.id);
}

NodeId step_pointwise(StepRule& rule) {
  if (rule.walks()) rule.fail("it needs all steps at once");
  if (rule.node.op == Op::Param && rule.node.type.has(rule.walk)) rule.fail("it has a value per step");
  return unchanged(rule);
}

NodeId step_missing(StepRule& rule) {
  bool sums_steps = rule.node.op == Op::Scatter && rule.from.node(operand(rule.node, "index")).type.has(rule.walk);
  if (!rule.walks() && !sums_steps) return unchanged(rule);
  rule.fail("it needs all steps at once");
}

NodeId step_reduction(StepRule& rule) {
  if (rule.walks()) rule.fail("it needs all steps at once");
  return unchanged(rule);
}

NodeId step_at(StepRule& rule) {
  if (rule.walks() && rule.node.attrs.integer == -1) {
    rule.state.ends.insert(rule.id);
    return rule.mapped(rule.node.operands[0]);  // the last one so far
  }
  if (rule.walks()) rule.fail("it needs one step at every step");
  return unchanged(rule);
}

NodeId step_iota(StepRule& rule) {
  if (!rule.walks()) return unchanged(rule);
  const NodeId source = state_source(rule.from, rule.id);
  for (const StateSlot& slot : rule.state.slots)
    if (slot.origin == source) return slot.now;
  StateSlot slot = open_slot(rule);
  close_slot(rule, slot, rule.b.Add(slot.now, rule.b.constant(1)));
  return slot.now;
}

NodeId step_extent(StepRule& rule) {
  if (rule.walks()) rule.fail("the number of steps is not known");
  return unchanged(rule);
}

NodeId step_broadcast(StepRule& rule) {
  return rule.b.broadcast(rule.mapped(rule.node.operands[0]), without(rule.node.attrs.dims, {rule.walk}));
}

NodeId step_scan(StepRule& rule) {
  if (!rule.walks()) return unchanged(rule);
  StateSlot slot = open_slot(rule);
  NodeId decayed = rule.b.Mul(remembered(rule, slot), rule.operand("decay"));  // in this order: the state has all dims
  NodeId next = rule.b.Add(decayed, rule.operand("input"));
  close_slot(rule, slot, next);
  return next;
}

NodeId step_delay(StepRule& rule) {
  if (!rule.walks()) return unchanged(rule);
  const NodeId source = state_source(rule.from, rule.id);
  for (StateSlot& slot : rule.state.slots)
    if (slot.origin == source) return remembered(rule, slot);
  StateSlot slot = open_slot(rule);
  NodeId result = remembered(rule, slot);
  close_slot(rule, slot, rule.operand("x"));
  return result;
}

NodeId step_window(StepRule& rule) {
  if (!rule.walks()) return unchanged(rule);
  DimId taps = rule.node.attrs.dims[1];
  StateSlot slot = open_slot(rule);
  NodeId older = rule.b.shift(remembered(rule, slot), taps, -1);
  NodeId next = stored_as_state(rule, slot, rule.b.Add(older, rule.b.put(rule.operand("x"), taps, -1)));
  close_slot(rule, slot, next);
  return next;
}

}  // namespace

void check_start(const Graph& graph, NodeId recurrence, DimId walk) {
  const Node& node = graph.node(recurrence);
  const NodeId start = operand(node, "start");
  if (start.present() && made_along(graph, start, walk))
    no_step_form(node, graph.dim(walk), "its start is made of the steps");
}

NodeId state_source(const Graph& graph, NodeId recurrence) {
  const Node& node = graph.node(recurrence);
  if (node.op == Op::Iota) {
    for (uint32_t i = 0; i < recurrence.index; ++i)
      if (graph.nodes()[i].op == Op::Iota && graph.nodes()[i].attrs == node.attrs) return {i};
    return recurrence;
  }
  if (node.op != Op::Delay) return recurrence;
  const NodeId x = operand(node, "x");
  const Node& scan = graph.node(x);
  const bool same = scan.op == Op::Scan && scan.attrs == node.attrs && operand(scan, "start") == operand(node, "start");
  return same ? x : recurrence;
}

NodeId step(Builder& out, const Graph& from, NodeId node, DimId walk, const std::function<NodeId(NodeId)>& mapped,
            StepState& state) {
  StepRule rule{out, from, node, from.node(node), walk, mapped, state};
  find_end(rule);
  out.location = rule.node.location;
  out.hint = rule.node.name;
  switch (rule.node.op) {
#define OP(e, name, operands, attributes, cls, infer, eval, gradient, step, flops, exponentials, meaning) \
  case Op::e:                                                                                             \
    return step_##step(rule);
#include "ir/ops.def"
#undef OP
  }
  throw InternalError("an op outside of the op table");
}

}  // namespace mambac
