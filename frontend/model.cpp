#include "frontend/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "frontend/instantiator.h"
#include "frontend/shipped.h"
#include "frontend/suggest.h"
#include "ir/print.h"

namespace mambac {
namespace {

constexpr std::string_view kTrainPrefix = "train.";
constexpr const char* kSavedPreset = "saved";
namespace fs = std::filesystem;

const EmbeddedFile* find_shipped(std::string_view name) {
  for (const EmbeddedFile& model : shipped_models()) {
    if (model.file.substr(0, model.file.size() - 3) == name) return &model;
  }
  return nullptr;
}

std::vector<std::string> static_names(const BlockDef& block) {
  std::vector<std::string> names;
  for (const StaticParameter& parameter : block.statics) names.push_back(parameter.name);
  return names;
}

double preset_number(const Library& library, const PresetValue& value) {
  if (!value.number) {
    throw InputError(value.location, fmt::format("'{}' is '{}', expected a number", value.name, value.text));
  }
  return Instantiator(library, TextKind::definition).number(*value.number);
}

void apply_preset(Model& model, const std::string& name) {
  const Preset* preset = model.library->find_preset(name);
  if (preset == nullptr) {
    std::vector<std::string> known;
    for (const Preset& candidate : model.library->main_file().presets) known.push_back(candidate.name);
    throw InputError(fmt::format("{} has no preset '{}'{}; it has: {}", model.library->main_file().name, name,
                                 did_you_mean(name, known),
                                 known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", "))));
  }
  model.preset = name;
  const auto known = static_names(model.library->main_block());
  for (const PresetValue& value : preset->values) {
    if (value.name.starts_with(kTrainPrefix)) {
      model.training[value.name.substr(kTrainPrefix.size())] =
          value.number ? number_text(preset_number(*model.library, value)) : value.text;
      continue;
    }
    if (std::find(known.begin(), known.end(), value.name) == known.end()) {
      throw InputError(value.location, fmt::format("'{}' has no static argument '{}'{}", model.name, value.name,
                                                   did_you_mean(value.name, known)));
    }
    model.values[value.name] = preset_number(*model.library, value);
  }
}

std::string find_checkpoint(const std::string& folder) {
  std::error_code error;
  if (fs::exists(fs::path(folder) / "model.mb", error)) return folder;
  const fs::path latest = fs::path(folder) / "latest";
  fs::path target = latest;
  if (fs::is_regular_file(latest, error)) {
    std::string name = read_text_file(latest.string());
    name.erase(name.find_last_not_of(" \n\r\t") + 1);
    target = fs::path(folder) / name;
  }
  if (fs::exists(target / "model.mb", error)) return target.string();
  throw InputError(
      fmt::format("'{}' is a folder without model.mb and without 'latest', expected a checkpoint folder "
                  "as 'mambac train' writes it",
                  folder));
}

std::map<std::string, double> numbers_of(const std::map<std::string, int64_t>& overrides) {
  return {overrides.begin(), overrides.end()};
}

/// The file's text without imports and the preset `saved`; of an imported file, without presets and as blocks only.
std::string plain_text(const SourceFile& file, bool imported) {
  std::string text = file.text;
  std::vector<std::pair<size_t, size_t>> cuts;
  for (const Import& import : file.imports) cuts.emplace_back(import.offset, import.end_offset);
  for (const Preset& preset : file.presets) {
    if (imported || preset.name == kSavedPreset) cuts.emplace_back(preset.offset, preset.end_offset);
  }
  for (const auto& block : file.blocks) {
    if (imported && block->is_model) text.replace(block->offset, 5, "block");  // "model" is as long
  }
  std::sort(cuts.rbegin(), cuts.rend());
  for (const auto& [from, to] : cuts) text.erase(from, to - from);
  return text;
}

}  // namespace

Model model_from_text(const std::string& text, const std::string& file_name, const std::string& preset) {
  Model model;
  model.library = std::make_shared<const Library>(text, file_name);
  if (const BlockDef* block = model.library->find_main_block()) model.name = block->name;
  if (!preset.empty()) apply_preset(model, preset);
  return model;
}

Model load_model(std::string_view spec) {
  const std::string whole(spec);
  std::error_code error;
  if (fs::is_directory(whole, error)) {
    const std::string folder = find_checkpoint(whole);
    const std::string file = (fs::path(folder) / "model.mb").string();
    Model model = model_from_text(read_text_file(file), file);
    if (model.library->find_preset(kSavedPreset) != nullptr) apply_preset(model, kSavedPreset);
    model.checkpoint = folder;
    return model;
  }
  const size_t colon = whole.rfind(':');
  const bool plain = colon == std::string::npos || fs::exists(whole, error) || find_shipped(whole) != nullptr;
  const std::string name = plain ? whole : whole.substr(0, colon);
  const std::string preset = plain ? "" : whole.substr(colon + 1);
  if (!plain && preset.empty())
    throw InputError(fmt::format("found '{}', expected the name of a preset after ':'", whole));
  if (fs::exists(name, error)) return model_from_text(read_text_file(name), name, preset);
  if (const EmbeddedFile* shipped = find_shipped(name)) {
    return model_from_text(std::string(shipped->text), std::string(shipped->file), preset);
  }
  std::vector<std::string> known;
  for (const EmbeddedFile& model : shipped_models()) known.emplace_back(model.file.substr(0, model.file.size() - 3));
  throw InputError(fmt::format("there is no file, checkpoint folder or shipped model '{}'{}; shipped are: {}", name,
                               did_you_mean(name, known), fmt::join(known, ", ")));
}

std::vector<std::string> shipped_model_names() {
  std::vector<std::string> names;
  for (const EmbeddedFile& shipped : shipped_models()) {
    const std::string name(shipped.file.substr(0, shipped.file.size() - 3));
    if (name == "prelude" || name == "sampling") continue;  // what models are trained and write with
    names.push_back(name);
    const Library library(std::string(shipped.text), std::string(shipped.file));
    for (const Preset& preset : library.main_file().presets) names.push_back(name + ":" + preset.name);
  }
  return names;
}

Bindings set(Model& model, const std::map<std::string, int64_t>& overrides) {
  std::vector<std::string> known = static_names(model.library->main_block());
  std::set<std::string> free;
  for (const auto& file : model.library->files()) {
    for (const DimDecl& decl : file->dims) {
      if (!decl.size && decl.dim->kind == Expr::name) free.insert(decl.dim->text);
    }
  }
  Bindings bindings;
  for (const auto& [name, number] : overrides) {
    if (std::find(known.begin(), known.end(), name) != known.end()) {
      model.values[name] = static_cast<double>(number);
    } else if (free.contains(name)) {
      bindings[name] = number;
    } else {
      known.insert(known.end(), free.begin(), free.end());
      throw InputError(fmt::format("'{}' has no static argument and no free dimension '{}'{}; it has: {}", model.name,
                                   name, did_you_mean(name, known), fmt::join(known, ", ")));
    }
  }
  return bindings;
}

Graph instantiate(const Model& model) {
  Instantiator instantiator(*model.library, TextKind::definition);
  instantiator.main(model.library->main_block(), model.values, {});
  return std::move(instantiator.graph());
}

Graph instantiate_block(const Model& model, const std::string& block, const std::map<std::string, int64_t>& overrides,
                        const std::set<std::string>& optional_inputs) {
  const BlockDef* def = model.library->find_block(block);
  if (def == nullptr) {
    throw InputError(fmt::format("{} has no block '{}'{}", model.library->main_file().name, block,
                                 did_you_mean(block, model.library->block_names())));
  }
  const auto known = static_names(*def);
  for (const auto& [name, number] : overrides) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw InputError(fmt::format("block '{}' has no static argument '{}'{}", block, name, did_you_mean(name, known)));
    }
  }
  std::vector<std::string> optional;
  for (const BlockInput& input : def->inputs) {
    if (input.optional) optional.push_back(input.name);
  }
  for (const std::string& name : optional_inputs) {
    if (std::find(optional.begin(), optional.end(), name) == optional.end()) {
      throw InputError(
          fmt::format("block '{}' has no optional input '{}'{}", block, name, did_you_mean(name, optional)));
    }
  }
  Instantiator instantiator(*model.library, TextKind::definition);
  instantiator.main(*def, numbers_of(overrides), optional_inputs);
  return std::move(instantiator.graph());
}

Graph parse_graph(const std::string& text, const std::string& file_name) {
  const Library library(text, file_name);
  const BlockDef& block = library.main_block();
  if (!block.statics.empty()) {
    throw InputError(block.statics[0].location, "found a static argument, expected a dump: a block without <...>");
  }
  Instantiator instantiator(library, TextKind::dump);
  instantiator.main(block, {}, {});
  return std::move(instantiator.graph());
}

void check_trainable(const Graph& graph) {
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::Param || node.param.init.kind != Initialiser::none) continue;
    throw InputError(node.location, fmt::format("parameter without initialiser: '{}' (\"{}\") can come only from a "
                                                "checkpoint, expected '= initialiser' to train it",
                                                node.name, node.param.checkpoint_name));
  }
}

std::string definition_text(const Model& model) {
  std::string text;
  for (const auto& file : model.library->files()) {
    const bool imported = file.get() != &model.library->main_file();
    if (file.get() == model.library->files().back().get() && imported) break;  // the prelude is always there
    if (imported) text += fmt::format("# From {}\n", fs::path(file->name).filename().string());
    text += plain_text(*file, imported) + "\n";
  }
  text.erase(text.find_last_not_of(" \n") + 1);
  text += fmt::format("\n\npreset {} {{\n", kSavedPreset);
  for (const auto& [name, number] : model.values)
    text += fmt::format("  {} = {}\n", name_text(name), number_text(number));
  for (const auto& [name, setting] : model.training) {
    text += fmt::format("  {}{} = {}\n", kTrainPrefix, name, quoted_text(setting));
  }
  return text + "}\n";
}

}  // namespace mambac
