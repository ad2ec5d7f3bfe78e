#include "tools/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "passes/kernel_alone.h"
#include "tools/port_values.h"
#include "tools/value_check.h"

namespace mambac::tools {
namespace {

constexpr size_t kLongestPath = 12;

using Errors = std::map<NodeId, ValueError>;

ComparedValue describe(const Graph& graph, const Bindings& sizes, const ValueError& error) {
  const Node& node = graph.node(error.node);
  return {
      node.name,         node.op,        node.location, place_text(shape_of(graph, node.type, sizes), error.element),
      error.found,       error.expected, error.bound,   error.of_bound,
      error.since_inputs};
}

/// The compared values that a value is made of directly, those that were not compared left out.
std::vector<NodeId> compared_before(const Graph& graph, const Errors& errors, NodeId value) {
  std::set<NodeId> seen;
  std::vector<NodeId> found, stack{value};
  while (!stack.empty()) {
    const NodeId id = stack.back();
    stack.pop_back();
    for (NodeId operand : graph.node(id).operands) {
      if (!operand.present() || !seen.insert(operand).second) continue;
      if (errors.contains(operand))
        found.push_back(operand);
      else
        stack.push_back(operand);
    }
  }
  std::ranges::sort(found);
  return found;
}

/// What leads to a value, without itself, the last one first.
std::vector<NodeId> path_to(const Graph& graph, const Errors& errors, NodeId value) {
  std::vector<NodeId> path;
  while (path.size() < kLongestPath) {
    const std::vector<NodeId> before = compared_before(graph, errors, value);
    const auto worst = std::ranges::max_element(before, {}, [&](NodeId id) {
      const ValueError& error = errors.at(id);
      return std::max(error.of_bound, error.since_inputs);
    });
    if (worst == before.end()) break;
    path.push_back(value = *worst);
  }
  return path;
}

Errors by_node(const std::vector<ValueError>& list) {
  Errors errors;
  for (const ValueError& error : list) errors[error.node] = error;
  return errors;
}

class Comparer {
 public:
  Comparer(const Program& program, const Bindings& sizes, const Arrays& inputs, bool constant_parameters,
           const CompareProgress& progress)
      : sizes_(sizes), inputs_(inputs), progress_(progress), program_(program) {
    found_ = run_once(program_, sizes, inputs, {.constant_parameters = constant_parameters});
  }

  Comparison run() {
    const std::vector<ValueError> list = check(graph(), inputs_, found_, "those of");
    errors_ = by_node(list);
    Comparison comparison{graph().kernels.size(), list.size(), {}, {}, {}, {}};
    for (const Output& output : graph().outputs())
      if (const auto error = errors_.find(output.value); error != errors_.end())
        comparison.outputs.push_back(describe(graph(), sizes_, error->second));
    const auto worst = std::ranges::max_element(list, {}, &ValueError::of_bound);
    if (worst != list.end()) comparison.worst = describe(graph(), sizes_, *worst);
    for (const auto& [kernel, errors] : suspects(list)) {
      comparison.wrong = look_into(errors);
      if (comparison.wrong) break;
      for (const ValueError& error : errors) comparison.amplified.push_back(describe(graph(), sizes_, error));
    }
    return comparison;
  }

 private:
  const Graph& graph() const { return program_.graph(); }
  const KernelGroup& kernel_of(NodeId id) const {
    return graph().kernels[static_cast<size_t>(graph().node(id).kernel)];
  }

  std::vector<ValueError> check(const Graph& graph, const Arrays& inputs, const FoundValues& found,
                                const std::string& what) const {
    return check_values(graph, sizes_, inputs, found, [&](size_t done) { progress_(what, done, graph.size()); });
  }

  /// What exceeds its bound, by kernel, in the order of kernels.
  std::map<int, std::vector<ValueError>> suspects(const std::vector<ValueError>& list) const {
    std::map<int, std::vector<ValueError>> by_kernel;
    for (const ValueError& error : list)
      if (error.of_bound > 1) by_kernel[graph().node(error.node).kernel].push_back(error);
    return by_kernel;
  }

  /// Takes what exceeds its bound of one kernel's values. Nothing when the kernel's ops are right.
  std::optional<WrongValue> look_into(const std::vector<ValueError>& in_memory) const {
    const ValueError& error = in_memory.front();
    const std::string kernel = kernel_of(error.node).name;
    if (kernel_of(error.node).kind == KernelGroup::library) return as_stored(error, kernel, "");
    const int number = graph().node(error.node).kernel;
    const Graph alone = kernel_alone(graph(), number);
    const Arrays inputs = inputs_of(alone);
    const Schedule schedule = program_.lowered()[static_cast<size_t>(number)].kernel.schedule;
    const Program program(
        alone, [&](const Graph&, int) { return schedule; }, program_.device());
    const FoundValues inside = run_once(program, sizes_, inputs);
    const std::vector<ValueError> list = check(alone, inputs, inside, "within " + kernel + " of");
    const auto wrong = std::ranges::find_if(list, [](const ValueError& e) { return e.of_bound > 1; });
    if (wrong != list.end()) {
      const FoundValues all = with_inside(alone, inside);
      const Errors errors = by_node(check(graph(), inputs_, all, "what leads to it,"));
      WrongValue value{describe(alone, sizes_, *wrong), kernel, note_of(*wrong, alone, error),
                       path_of(errors, *graph().find(alone.node(wrong->node).name))};
      value.value.since_inputs = value.path.back().since_inputs;
      return value;
    }
    for (const ValueError& before : in_memory) {
      const auto again = inside.find(*alone.find(graph().node(before.node).name));
      if (again == inside.end()) return as_stored(before, kernel, "");  // integers, which it does not store by itself
      const double now = again->second.data[before.element];
      if (difference(now, before.found) > before.bound) return as_stored(before, kernel, gone_note(now));
    }
    return std::nullopt;
  }

  WrongValue as_stored(const ValueError& error, const std::string& kernel, const std::string& note) const {
    return {describe(graph(), sizes_, error), kernel, note, path_of(errors_, error.node)};
  }

  static std::string gone_note(double now) {
    return fmt::format(
        "the kernel by itself, with all its values stored, gives {:.9g} there, and each of its ops is right: what is "
        "wrong depends on what the kernel stores, or on where",
        now);
  }

  std::string note_of(const ValueError& wrong, const Graph& alone, const ValueError& stored) const {
    const std::string& name = graph().node(stored.node).name;
    if (alone.node(wrong.node).name == name) return "";
    return fmt::format(
        "it lies within the kernel and was seen by storing it; in memory, {} is wrong by {:.3g} of its bound", name,
        stored.of_bound);
  }

  /// What the kernel reads, as it lay in memory.
  Arrays inputs_of(const Graph& alone) const {
    Arrays inputs;
    for (const Node& node : alone.nodes())
      if (node.op == Op::Input || node.op == Op::Param) inputs[node.name] = in_memory(*graph().find(node.name));
    return inputs;
  }

  Array in_memory(NodeId id) const {
    const Node& node = graph().node(id);
    if (node.op == Op::Input || node.op == Op::Param) return inputs_.at(node.name);
    if (const auto found = found_.find(id); found != found_.end()) return found->second;
    std::vector<Array> parts(graph().size());  // a join
    for (NodeId operand : node.operands) parts[operand.index] = in_memory(operand);
    return evaluate_node(graph(), id, sizes_, parts);
  }

  /// What was found in memory, and of a kernel that was run alone the values that memory lacks.
  FoundValues with_inside(const Graph& alone, const FoundValues& inside) const {
    FoundValues all = found_;
    for (const auto& [id, array] : inside) all.try_emplace(*graph().find(alone.node(id).name), array);
    return all;
  }

  /// The value and what leads to it.
  std::vector<ComparedValue> path_of(const Errors& errors, NodeId value) const {
    std::vector<ComparedValue> path{describe(graph(), sizes_, errors.at(value))};
    for (NodeId id : path_to(graph(), errors, value)) path.push_back(describe(graph(), sizes_, errors.at(id)));
    std::ranges::reverse(path);
    return path;
  }

  const Bindings& sizes_;
  const Arrays& inputs_;
  const CompareProgress& progress_;
  const Program& program_;
  FoundValues found_;
  Errors errors_;
};

}  // namespace

Comparison compare_with_reference(const Program& program, const Bindings& sizes, const Arrays& inputs,
                                  bool constant_parameters, const CompareProgress& progress) {
  return Comparer(program, sizes, inputs, constant_parameters, progress).run();
}

}  // namespace mambac::tools
