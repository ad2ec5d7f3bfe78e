#include "tools/compare_print.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace mambac::tools {
namespace {

std::string location_text(const Location& location) {
  return location.known() ? location.str() : "-";
}

/// " at [0, 3]"; of a scalar nothing.
std::string at(const std::string& place) {
  return place == "[]" ? "" : " at " + place;
}

/// "exp 'y' (m.mb:5:7)"
std::string title_of(const ComparedValue& value) {
  return fmt::format("{} '{}' ({})", name_of(value.op), value.name, location_text(value.location));
}

Json value_json(const ComparedValue& value) {
  return {{"name", value.name},
          {"op", name_of(value.op)},
          {"location", location_text(value.location)},
          {"index", value.place},
          {"found", value.found},
          {"expected", value.expected},
          {"bound", value.bound},
          {"error_of_bound", value.of_bound},
          {"error_since_inputs", value.since_inputs}};
}

Json values_json(const std::vector<ComparedValue>& values) {
  Json json = Json::array();
  for (const ComparedValue& value : values) json.push_back(value_json(value));
  return json;
}

Json comparison_json(const std::string& device, const Comparison& comparison) {
  Json json = {{"device", device}, {"kernels", comparison.kernels}, {"values", comparison.values}};
  json["worst"] = comparison.worst ? value_json(*comparison.worst) : Json();
  json["outputs"] = values_json(comparison.outputs);
  json["amplified"] = values_json(comparison.amplified);
  json["wrong"] = Json();
  if (!comparison.wrong) return json;
  json["wrong"] = value_json(comparison.wrong->value);
  json["wrong"]["kernel"] = comparison.wrong->kernel;
  json["wrong"]["note"] = comparison.wrong->note;
  json["wrong"]["path"] = values_json(comparison.wrong->path);
  return json;
}

/// The operand by which a rule is wrong.
const Node& operand_of(const Graph& graph, const WrongRule& rule) {
  return graph.node(graph.node(rule.node).operands[rule.operand]);
}

Json rule_json(const Graph& graph, const WrongRule& rule) {
  const Node& node = graph.node(rule.node);
  return {{"name", node.name},
          {"op", name_of(node.op)},
          {"location", location_text(node.location)},
          {"operand", operand_of(graph, rule).name},
          {"rule", rule.rule},
          {"difference", rule.difference}};
}

Json pass_json(const Graph& after, const WrongPass& wrong) {
  const Node& node = after.node(wrong.node);
  return {{"pass", wrong.pass},     {"name", node.name},
          {"op", name_of(node.op)}, {"location", location_text(node.location)},
          {"index", wrong.place},   {"before", wrong.before},
          {"after", wrong.after}};
}

void print_path(const std::vector<ComparedValue>& path) {
  size_t name = 5, op = 2, line = 4;
  for (const ComparedValue& value : path) {
    name = std::max(name, value.name.size());
    op = std::max(op, name_of(value.op).size());
    line = std::max(line, location_text(value.location).size());
  }
  fmt::print("  {:<{}}  {:<{}}  {:<{}}  error/bound  since inputs\n", "value", name, "op", op, "line", line);
  for (const ComparedValue& value : path)
    fmt::print("  {:<{}}  {:<{}}  {:<{}}  {:>11.3g}  {:>12.3g}\n", value.name, name, name_of(value.op), op,
               location_text(value.location), line, value.of_bound, value.since_inputs);
}

void print_comparison(const std::string& device, const Comparison& comparison) {
  for (const ComparedValue& value : comparison.amplified)
    fmt::print("{}: {} is {:.3g} of its bound, but each op of its kernel is right: roundings are amplified\n", device,
               title_of(value), value.of_bound);
  if (!comparison.wrong) {
    fmt::print("{}: all {} values that {} kernels leave in memory are within their bounds", device, comparison.values,
               comparison.kernels);
    if (comparison.worst)
      fmt::print("; the largest error is {:.2g} of its bound, {}", comparison.worst->of_bound,
                 title_of(*comparison.worst));
    fmt::print("\n");
    return;
  }
  const WrongValue& wrong = *comparison.wrong;
  fmt::print("{}: {} is wrong{}: found {:.9g}, expected {:.9g} within {:.2g}; kernel {}\n", device,
             title_of(wrong.value), at(wrong.value.place), wrong.value.found, wrong.value.expected, wrong.value.bound,
             wrong.kernel);
  if (!wrong.note.empty()) fmt::print("  {}\n", wrong.note);
  print_path(wrong.path);
}

void print_rule(const Graph& graph, const WrongRule& rule) {
  const Node& node = graph.node(rule.node);
  fmt::print(
      "the gradient rule of {} '{}' ({}) is wrong by its operand {}: along a direction it gives {:.9g}, "
      "differences of the op {:.9g}\n",
      name_of(node.op), node.name, location_text(node.location), operand_of(graph, rule).name, rule.rule,
      rule.difference);
}

void print_pass(const Graph& after, const WrongPass& wrong) {
  const Node& node = after.node(wrong.node);
  fmt::print("the pass {} changes {} '{}' ({}){}: {:.9g} before, {:.9g} after it, in float64\n", wrong.pass,
             name_of(node.op), node.name, location_text(node.location), at(wrong.place), wrong.before, wrong.after);
}

const Graph& graph_after(const std::vector<StageGraph>& stages, const std::string& pass) {
  return std::ranges::find(stages, pass, &StageGraph::stage)->graph;
}

}  // namespace

bool CompareResult::good() const {
  return !rule && !pass && std::ranges::none_of(devices, [](const auto& d) { return d.second.wrong.has_value(); });
}

void print_result(const CompareResult& result, const std::vector<StageGraph>& stages, bool with_rules) {
  if (result.rule) return print_rule(stages[1].graph, *result.rule);
  if (with_rules) fmt::print("gradient rules: all agree with differences of their ops\n");
  if (result.pass) return print_pass(graph_after(stages, result.pass->pass), *result.pass);
  fmt::print("passes: all that keep the graph's inputs keep what it computes\n");
  for (const auto& [device, comparison] : result.devices) print_comparison(device, comparison);
}

void add_result(const CompareResult& result, const std::vector<StageGraph>& stages, Json& report) {
  report["good"] = result.good();
  report["wrong_gradient_rule"] = result.rule ? rule_json(stages[1].graph, *result.rule) : Json();
  report["wrong_pass"] = result.pass ? pass_json(graph_after(stages, result.pass->pass), *result.pass) : Json();
  report["devices"] = Json::array();
  for (const auto& [device, comparison] : result.devices)
    report["devices"].push_back(comparison_json(device, comparison));
}

}  // namespace mambac::tools
