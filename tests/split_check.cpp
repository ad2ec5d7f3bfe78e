#include "tests/split_check.h"

#include <gtest/gtest.h>

#include "ir/verify.h"
#include "passes/simplify.h"
#include "passes/step_form.h"
#include "tests/mixer.h"

namespace mambac::test {

namespace {

const char* const kNext = ".next";

/// A value at one position, without the dimension.
Array at_step(const Array& value, size_t axis, int64_t t) {
  Array result = cut(value, axis, t, t + 1);
  result.shape.erase(result.shape.begin() + static_cast<long>(axis));
  return result;
}

/// Zeros for the states of a graph, and the values of its explicit starts.
Arrays first_state(const Graph& graph, DimId walk, const Graph& with_state, const Bindings& bindings,
                   const Arrays& values) {
  Arrays state;
  for (const Node& node : with_state.nodes()) {
    if (node.op != Op::Input || !node.name.starts_with("state.")) continue;
    Array zeros{shape_of(with_state, node.type, bindings), {}};
    zeros.data.resize(static_cast<size_t>(elements_of(with_state, node.type, bindings)));
    state[node.name] = std::move(zeros);
  }
  for (auto& [name, value] : evaluate(initial_state(graph, walk), bindings, values)) {
    EXPECT_TRUE(state.contains(name)) << name;
    state[name] = value;
  }
  return state;
}

/// Moves "state.X.next" among the outputs into "state.X".
void advance(Arrays& state, Arrays& outputs) {
  for (auto& [name, value] : state) {
    auto next = outputs.find(name + kNext);
    ASSERT_NE(next, outputs.end()) << name;
    value = std::move(next->second);
    outputs.erase(next);
  }
}

}  // namespace

Arrays between(const Graph& graph, DimId walk, const Arrays& values, int64_t begin, int64_t end) {
  Arrays result = values;
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::Input || !node.type.has(walk)) continue;
    result[node.name] = cut(values.at(node.name), static_cast<size_t>(node.type.position(walk)), begin, end);
  }
  return result;
}

void expect_split(const Graph& graph, const Bindings& bindings, const Arrays& values, int64_t split,
                  const std::string& context, double tolerance) {
  const DimId walk = *graph.find_dim("L");
  const int64_t length = bindings.at("L");
  const Arrays whole = evaluate(graph, bindings, values);
  const Graph prefill = simplify(expose_state(graph, walk), {.drop_stops = true});
  const Graph step = simplify(step_form(graph, walk), {.drop_stops = true});
  verify(prefill);
  verify(step);
  for (const Node& node : step.nodes()) {
    if (node.op != Op::Input || !node.name.starts_with("state.")) continue;
    auto there = prefill.find(node.name);
    ASSERT_TRUE(there) << context << ": " << node.name;
    EXPECT_EQ(prefill.node(*there).type, node.type) << context << ": " << node.name;
  }
  Arrays state = first_state(graph, walk, prefill, bindings, values);
  Arrays inputs = between(graph, walk, values, 0, split);
  inputs.insert(state.begin(), state.end());
  Bindings part = bindings;
  part["L"] = split;
  Arrays outputs = evaluate(prefill, part, inputs);
  advance(state, outputs);
  auto axis_of = [&](const std::string& name) {
    for (const Output& o : graph.outputs()) {
      if (o.name == name) return graph.node(o.value).type.position(walk);
    }
    return -1;
  };
  for (const auto& [name, value] : outputs) {
    int axis = axis_of(name);
    if (axis < 0 && split < length) continue;  // a value of the last step
    const Array expected = axis < 0 ? whole.at(name) : cut(whole.at(name), static_cast<size_t>(axis), 0, split);
    EXPECT_LE(difference(value, expected, tolerance, tolerance), 1) << context << ": prefill of " << name;
  }
  for (int64_t t = split; t < length; ++t) {
    Arrays now = values;
    for (const Node& node : graph.nodes()) {
      if (node.op == Op::Input && node.type.has(walk)) {
        now[node.name] = at_step(values.at(node.name), static_cast<size_t>(node.type.position(walk)), t);
      }
    }
    for (const auto& [name, value] : state) now[name] = value;
    Arrays found = evaluate(step, bindings, now);
    advance(state, found);
    for (const auto& [name, value] : found) {
      int axis = axis_of(name);
      if (axis < 0 && t + 1 < length) continue;
      const Array expected = axis < 0 ? whole.at(name) : at_step(whole.at(name), static_cast<size_t>(axis), t);
      EXPECT_LE(difference(value, expected, tolerance, tolerance), 1) << context << ": step " << t << " of " << name;
    }
  }
}

}  // namespace mambac::test
