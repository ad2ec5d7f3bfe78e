// The loss of a model: its own, or the one that training adds.
#include <fmt/format.h>

#include <algorithm>

#include "frontend/instantiator.h"
#include "frontend/model.h"

namespace mambac {
namespace {

/// The one dimension that the logits have and the tokens lack; absent when this is no model of tokens.
std::optional<DimId> vocabulary(const Type& tokens, const Type& logits) {
  if (is_float(tokens.dtype) || logits.dims.size() != tokens.dims.size() + 1) return std::nullopt;
  std::optional<DimId> found;
  for (const DimId dim : logits.dims) {
    if (tokens.has(dim)) continue;
    if (found) return std::nullopt;
    found = dim;
  }
  return found;
}

/// What training adds stands where the result is that it is about.
NodeId add_targets(Instantiator& instantiator, const Type& type, const Location& where) {
  if (const auto taken = instantiator.graph().find("targets")) {
    throw InputError(instantiator.graph().node(*taken).location,
                     "found a value 'targets', expected another name: training's input is called so");
  }
  Node node;
  node.op = Op::Input;
  node.name = "targets";
  node.type = type;
  node.location = where;
  return instantiator.append(std::move(node));
}

NodeId mean_over_all(Instantiator& instantiator, NodeId x, const std::string& name, const Location& where) {
  const auto dims = instantiator.graph().node(x).type.dims;
  if (dims.empty()) return x;
  Node sum;
  sum.op = Op::Sum;
  sum.operands = {x};
  sum.attrs.dims = dims;
  sum.name = "sum";
  sum.location = where;
  Node extent;
  extent.op = Op::Extent;
  extent.attrs.dims = dims;
  extent.name = "extent";
  extent.location = where;
  Node mean;
  mean.op = Op::Div;
  mean.operands = {instantiator.append(std::move(sum)), instantiator.append(std::move(extent))};
  mean.name = name;
  mean.location = where;
  return instantiator.append(std::move(mean));
}

const Output* output_named(const Graph& graph, std::string_view name) {
  const auto found = std::ranges::find(graph.outputs(), name, &Output::name);
  return found == graph.outputs().end() ? nullptr : &*found;
}

void check_own_loss(const Model& model, const Graph& graph) {
  const Type& type = graph.node(output_named(graph, "loss")->value).type;
  if (is_float(type.dtype) && type.dims.empty()) return;
  throw InputError(model.library->main_block().location,
                   fmt::format("result 'loss' of '{}': found {}, expected a scalar, f32[], which training makes small; "
                               "any other result needs another name",
                               model.name, type_text(graph, type)));
}

/// The results for training and evaluation, of a definition that gives a loss.
bool is_of_training(const Output& output) { return output.name == "loss" || output.name == "nll"; }

}  // namespace

Graph inference_graph(const Model& model) {
  Graph graph = instantiate(model);
  if (!output_named(graph, "loss")) return graph;
  std::erase_if(graph.outputs(), is_of_training);
  if (graph.outputs().empty())
    throw InputError(model.library->main_block().location,
                     fmt::format("'{}' gives no result but its loss, expected one for prefill and step", model.name));
  graph.remove_dead(false);
  return graph;
}

Graph training_graph(const Model& model) {
  Instantiator instantiator(*model.library, TextKind::definition);
  instantiator.main(model.library->main_block(), model.values, {});
  Graph& graph = instantiator.graph();
  const auto first_input =
      std::find_if(graph.nodes().begin(), graph.nodes().end(), [](const Node& node) { return node.op == Op::Input; });
  if (first_input == graph.nodes().end() || graph.outputs().empty()) {
    throw InputError(model.library->main_block().location,
                     fmt::format("'{}' cannot be trained, expected an input and a result", model.name));
  }
  if (output_named(graph, "loss")) {
    check_own_loss(model, graph);
    std::erase_if(graph.outputs(), [](const Output& output) { return !is_of_training(output); });
    graph.remove_dead(true);
    return std::move(graph);
  }
  const Type tokens = first_input->type;
  const NodeId result = graph.outputs().front().value;
  const Type result_type = graph.node(result).type;
  const Location where = graph.node(result).location;
  graph.outputs().clear();
  if (const auto classes = vocabulary(tokens, result_type)) {
    const NodeId targets = add_targets(instantiator, tokens, where);
    const NodeId nll = instantiator.apply("cross_entropy", {*classes}, {result, targets}, "nll");
    graph.outputs() = {{"loss", mean_over_all(instantiator, nll, "loss", where)}, {"nll", nll}};
  } else {
    const NodeId targets = add_targets(instantiator, {DType::f32, result_type.dims}, where);
    const NodeId error = instantiator.apply("squared_difference", {}, {result, targets}, "error");
    graph.outputs() = {{"loss", mean_over_all(instantiator, error, "loss", where)}};
  }
  graph.remove_dead(true);
  return std::move(graph);
}

}  // namespace mambac
