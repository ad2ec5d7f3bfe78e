#include "tools/byte_model.h"

#include <fmt/format.h>

#include "runtime/checkpoint.h"
#include "tools/work_notes.h"

namespace mambac::tools {

void check_reads_bytes(const Graph& graph) {
  const auto bytes = graph.find("bytes");
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::Input || node.name == "bytes" || node.name == "targets") continue;
    throw InputError(node.location, fmt::format("found the input {}: {}, expected a model of bytes: one input 'bytes: "
                                                "u8[B, L]'", node.name, type_text(graph, node.type)));
  }
  if (const auto targets = graph.find("targets"); targets && type_text(graph, graph.node(*targets).type) != "u8[B, L]")
    throw InputError(graph.node(*targets).location,
                     fmt::format("found targets: {}, expected 'targets: u8[B, L]', the byte after each",
                                 type_text(graph, graph.node(*targets).type)));
  const std::string found = bytes ? type_text(graph, graph.node(*bytes).type) : "no input 'bytes'";
  if (found != "u8[B, L]")
    throw InputError(bytes ? graph.node(*bytes).location : Location{},
                     fmt::format("found {}, expected a model of bytes: one input 'bytes: u8[B, L]'", found));
}

void check_scores_bytes(const Graph& graph) {
  if (graph.outputs().empty())
    throw InputError("found a definition that gives a loss but no 'nll', expected both: bits per byte are summed from "
                     "nll: f32[B, L], the nats of each byte");
  const Node& nll = graph.node(graph.outputs().front().value);
  if (type_text(graph, nll.type) != "f32[B, L]")
    throw InputError(nll.location, fmt::format("output 'nll': found {}, expected f32[B, L], the nats of each byte",
                                               type_text(graph, nll.type)));
  check_reads_bytes(graph);
}

TrainOptions trained_options(const Model& model) {
  TrainOptions options;
  for (const auto& [name, text] : model.training) set_option(options, name, text);
  return options;
}

Checkpoint load_checkpoint(const std::string& folder) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error))
    throw InputError(fmt::format("'{}' is no folder, expected a checkpoint as 'mambac train' writes it", folder));
  const std::filesystem::path path = find_checkpoint(folder);
  Checkpoint checkpoint{load_model(path.string()), {}, path / "model.safetensors"};
  checkpoint.options = trained_options(checkpoint.model);
  note_model(definition_text(checkpoint.model));
  return checkpoint;
}

}  // namespace mambac::tools
