// Definitions to graphs: what the command line and the runtime ask of the language.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/library.h"
#include "ir/graph.h"

namespace mambac {

/// A definition with values for its static arguments.
struct Model {
  std::shared_ptr<const Library> library;
  std::string name;                             // of the main block; empty in a file of blocks only
  std::string preset;                           // empty: the defaults of the definition
  std::map<std::string, double> values;         // static arguments set by the preset and by `set`
  std::map<std::string, std::string> training;  // `train.context = 512` of the preset as {"context", "512"}
  std::string checkpoint;                       // the folder with the weights; empty when loaded from a definition
};

/// `spec` is a definition file (FILE.mb), a shipped model's name, either with `:PRESET`, or a checkpoint folder that
/// holds model.mb (or `latest`: a folder, or a file that names one beside it). InputError when it is none of these.
Model load_model(std::string_view spec);

/// A model from text. `preset` may be empty.
Model model_from_text(const std::string& text, const std::string& file_name, const std::string& preset = "");

/// Names of the shipped models and their presets, "mambabyte:353m", in a fixed order, for help texts.
std::vector<std::string> shipped_model_names();

/// Sets values by name: static arguments of the main block into the model; the sizes of free dimensions come back as
/// bindings. InputError for an unknown name.
Bindings set(Model& model, const std::map<std::string, int64_t>& overrides);

/// The graph of the main block: its inputs and outputs under the names of the definition.
Graph instantiate(const Model& model);

/// The graph of any block of the model's library (the prelude's too). `overrides` must give every static argument
/// without default; `optional_inputs` names the optional inputs (`x?`) that the graph shall have.
Graph instantiate_block(const Model& model, const std::string& block, const std::map<std::string, int64_t>& overrides,
                        const std::set<std::string>& optional_inputs = {});

/// What print wrote, read back: equal to the printed graph.
Graph parse_graph(const std::string& text, const std::string& file_name);

/// The graph of the main block without what a definition with a loss of its own gives for training: its outputs `loss`
/// and `nll`, and what only they need. InputError when nothing is left.
Graph inference_graph(const Model& model);

/// The graph with a loss. A definition that gives an output `loss` has its own: that and its output `nll`, when there
/// is one, are all outputs (InputError when the loss is no scalar). To any other definition one is added. A model of
/// tokens (first input of integers, first output with one dimension more) gets the input `targets` like its first input
/// and the outputs `loss` (mean nats, scalar) and `nll` (nats per position). Any other model gets `targets` like its
/// first output and as `loss` the mean squared difference.
Graph training_graph(const Model& model);

/// InputError "parameter without initialiser" for the first parameter that only a checkpoint can fill.
void check_trainable(const Graph& graph);

/// One text that load_model reads back to this model without any other file: the definition, what it imports and
/// the values as preset `saved`.
std::string definition_text(const Model& model);

}  // namespace mambac
