#include "tools/not_finite.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "ir/error.h"
#include "passes/kernel_alone.h"
#include "tools/port_values.h"
#include "tools/stored_values.h"

namespace mambac::tools {
namespace {

/// The first element that is NaN or infinite.
std::optional<size_t> first_not_finite(const Array& array) {
  const auto found = std::ranges::find_if(array.data, [](double x) { return !std::isfinite(x); });
  if (found == array.data.end()) return std::nullopt;
  return static_cast<size_t>(found - array.data.begin());
}

std::string number(double x) {
  return std::isnan(x) ? "NaN" : std::isinf(x) ? (x < 0 ? "-infinity" : "infinity") : fmt::format("{:.7g}", x);
}

/// "log 'y' is NaN at [0, 3]"; of a scalar, without a place.
std::string what_is(const Node& node, const Array& array, size_t element) {
  const std::string place = array.shape.empty() ? "" : " at " + place_text(array.shape, element);
  return fmt::format("{} '{}' is {}{}", name_of(node.op), node.name, number(array.data[element]), place);
}

/// "m.mb:5:7: "
std::string where(const Node& node) {
  return node.location.known() ? node.location.str() + ": " : "";
}

/// The element of an operand that an element of the node is made of; nothing when there are several.
std::optional<size_t> element_of(const Graph& graph, const Node& node, const Array& array, size_t element,
                                 NodeId operand, const Array& values) {
  const std::vector<DimId>& dims = graph.node(operand).type.dims;
  if (!std::ranges::all_of(dims, [&](DimId d) { return node.type.has(d); })) return std::nullopt;
  size_t at = 0, step = 1;
  for (size_t k = dims.size(); k-- > 0; step *= static_cast<size_t>(values.shape[k])) {
    size_t rest = element;
    const auto position = static_cast<size_t>(node.type.position(dims[k]));
    for (size_t i = array.shape.size() - 1; i > position; --i) rest /= static_cast<size_t>(array.shape[i]);
    at += rest % static_cast<size_t>(array.shape[position]) * step;
  }
  return at;
}

/// What the node is made of there, as far as these are single numbers: " (x = -0.5, y = 0)".
template <typename ValueOf>
std::string operands_text(const Graph& graph, const Node& node, const Array& array, size_t element,
                          const ValueOf& value_of) {
  std::string text;
  if (!is_pointwise(node.op)) return text;
  for (NodeId operand : node.operands) {
    const Array* values = operand.present() ? value_of(operand) : nullptr;
    const auto at = values ? element_of(graph, node, array, element, operand, *values) : std::nullopt;
    if (at)
      text += fmt::format("{}{} = {}", text.empty() ? " (" : ", ", graph.node(operand).name, number(values->data[*at]));
  }
  return text.empty() ? text : text + ")";
}

/// The first node of `values` that is not finite, of operands that are; `value_of` is null for those that are not
/// known.
template <typename ValueOf>
std::string first_maker(const Graph& graph, const ValueOf& value_of) {
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph.node(NodeId{i});
    const Array* array = value_of(NodeId{i});
    const auto element = array ? first_not_finite(*array) : std::nullopt;
    if (!element) continue;
    const bool outside = node.op == Op::Input || node.op == Op::Param;
    const bool inherited = std::ranges::any_of(node.operands, [&](NodeId operand) {
      const Array* values = operand.present() ? value_of(operand) : nullptr;
      return values && first_not_finite(*values);
    });
    if (inherited) continue;
    return where(node) + what_is(node, *array, *element) +
           (outside ? " before anything is computed"
                    : ", made of finite numbers" + operands_text(graph, node, *array, *element, value_of));
  }
  return "";
}

/// What the kernels of a run leave, looked at as they leave it.
class Finder {
 public:
  Finder(const Program& program, const Bindings& sizes)
      : program_(program), graph_(program.graph()), sizes_(sizes), reader_(program, sizes) {}

  std::string run(Executable& executable) {
    executable.run_observed([&](int kernel, const std::vector<char*>& memory) {
      if (kernel == 0) found_ = look_at_inputs(memory);
      if (found_.empty()) found_ = look_at(kernel, memory);
    });
    return found_;
  }

 private:
  std::string look_at_inputs(const std::vector<char*>& memory) const {
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      const Node& node = graph_.node(NodeId{i});
      if ((node.op != Op::Input && node.op != Op::Param) || !is_float(node.type.dtype)) continue;
      const Array array = reader_.read(NodeId{i}, memory);
      if (const auto element = first_not_finite(array))
        return where(node) + what_is(node, array, *element) + " before anything is computed";
    }
    return "";
  }

  std::string look_at(int kernel, const std::vector<char*>& memory) const {
    for (NodeId id : reader_.stored_by(kernel)) {
      const Array array = reader_.read(id, memory);
      const auto element = first_not_finite(array);
      if (!element) continue;
      const Node& node = graph_.node(id);
      const KernelGroup& group = graph_.kernels[static_cast<size_t>(kernel)];
      const std::string stored = where(node) + what_is(node, array, *element);
      if (group.kind == KernelGroup::library) return stored + ", made of finite numbers";
      try {
        const std::string inside = look_into(kernel, memory);
        if (!inside.empty()) return inside;
      } catch (const EnvironmentError& failure) {
        return fmt::format("{}; what of kernel {} is so first cannot be looked at: {}", stored, group.name,
                           failure.what());
      }
      return fmt::format("{} in memory, but not when kernel {} is compiled by itself with all its values stored: it "
                         "depends on what the kernel stores",
                         stored, group.name);
    }
    return "";
  }

  std::string look_into(int kernel, const std::vector<char*>& memory) const {
    const Graph alone = kernel_alone(graph_, kernel);
    const Schedule schedule = program_.lowered()[static_cast<size_t>(kernel)].kernel.schedule;
    const Program program(
        alone, [&](const Graph&, int) { return schedule; }, program_.device());
    Arrays inputs;
    for (const Node& node : alone.nodes())
      if (node.op == Op::Input || node.op == Op::Param)
        inputs[node.name] = reader_.read(*graph_.find(node.name), memory);
    const FoundValues found = run_once(program, sizes_, inputs);
    return first_maker(alone, [&](NodeId id) -> const Array* {
      if (const auto value = found.find(id); value != found.end()) return &value->second;
      const auto input = inputs.find(alone.node(id).name);
      return input == inputs.end() ? nullptr : &input->second;
    });
  }

  const Program& program_;
  const Graph& graph_;
  const Bindings& sizes_;
  const ValueReader reader_;
  std::string found_;
};

}  // namespace

std::string find_not_finite(const Program& program, Executable& executable, const Bindings& sizes) {
  return Finder(program, sizes).run(executable);
}

std::string find_not_finite(const Graph& graph, const Bindings& sizes, const Arrays& values) {
  std::vector<Array> all(graph.size());
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph.node(NodeId{i});
    const bool outside = node.op == Op::Input || node.op == Op::Param;
    all[i] = outside ? values.at(node.name) : evaluate_node(graph, NodeId{i}, sizes, all);
  }
  return first_maker(graph, [&](NodeId id) { return &all[id.index]; });
}

}  // namespace mambac::tools
