#include "frontend/library.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "frontend/parser.h"
#include "frontend/shipped.h"
#include "frontend/suggest.h"
#include "ir/op.h"
#include "ir/trace.h"

namespace mambac {
namespace {

constexpr size_t kMaxFiles = 100;
constexpr uintmax_t kMaxFileBytes = uintmax_t{64} << 20;
constexpr const char* kPrelude = "prelude.mb";

}  // namespace

std::string without_byte_order_mark(std::string text) {
  constexpr std::string_view kMark = "\xef\xbb\xbf";
  if (text.starts_with(kMark)) text.erase(0, kMark.size());
  return text;
}

std::string read_text_file(const std::string& path, const Location& wanted_at) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) throw InputError(wanted_at, fmt::format("there is no file '{}'", path));
  if (!std::filesystem::is_regular_file(status)) {
    throw InputError(wanted_at, fmt::format("'{}' is not a regular file", path));
  }
  if (std::filesystem::file_size(path, error) > kMaxFileBytes || error) {
    throw InputError(wanted_at, fmt::format("'{}' is larger than 64 MiB: not a model text", path));
  }
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in.is_open() || in.bad()) throw InputError(wanted_at, fmt::format("'{}' cannot be read", path));
  return without_byte_order_mark(text.str());
}

Library::Library(const std::string& text, const std::string& file_name) {
  add(text, file_name);
  if (file_name != kPrelude) add(std::string(find_embedded(shipped_models(), kPrelude)->text), kPrelude);
  for (auto& block : files_.back()->blocks) block->from_prelude = true;
  check_unique_blocks();
}

void Library::add(std::string text, const std::string& file_name) {
  if (files_.size() >= kMaxFiles) throw InputError(fmt::format("more than {} files are imported", kMaxFiles));
  const trace::Span span("frontend", "parse " + std::filesystem::path(file_name).filename().string());
  seen_.insert(file_name);
  files_.push_back(std::make_unique<SourceFile>(parse_source(text, file_name)));
  const SourceFile& file = *files_.back();
  for (const Import& entry : file.imports) import(entry, file.name);
}

void Library::import(const Import& import, const std::string& importer) {
  const auto beside = std::filesystem::path(importer).parent_path() / import.path;
  const bool importer_shipped = find_embedded(shipped_models(), importer) != nullptr;
  std::error_code error;
  if (!importer_shipped && std::filesystem::exists(beside, error)) {
    const std::string path = beside.lexically_normal().string();
    if (!seen_.contains(path)) add(read_text_file(path, import.location), path);
    return;
  }
  const EmbeddedFile* model = find_embedded(shipped_models(), import.path);
  if (model == nullptr) {
    std::vector<std::string> names;
    for (const EmbeddedFile& known : shipped_models()) names.emplace_back(known.file);
    throw InputError(import.location,
                     fmt::format("there is no file '{}' beside '{}' and no shipped model of that name{}", import.path,
                                 importer, did_you_mean(import.path, names)));
  }
  if (import.path != kPrelude && !seen_.contains(import.path)) add(std::string(model->text), import.path);
}

void Library::check_unique_blocks() const {
  std::map<std::pair<std::string, bool>, const BlockDef*> seen;
  for (const auto& file : files_) {
    for (const auto& block : file->blocks) {
      if (op_from(block->name)) {
        throw InputError(block->location, fmt::format("a block cannot have the name of the op '{}'", block->name));
      }
      const auto [old, added] = seen.emplace(std::pair(block->name, block->from_prelude), block.get());
      if (!added) {
        throw InputError(block->location, fmt::format("block '{}' is defined twice, the other is at {}", block->name,
                                                      old->second->location.str()));
      }
    }
  }
}

const BlockDef* Library::find_block(const std::string& name, bool from_prelude) const {
  for (const auto& file : files_) {
    for (const auto& block : file->blocks) {
      if (block->name == name && (!from_prelude || block->from_prelude)) return block.get();
    }
  }
  return nullptr;
}

std::vector<std::string> Library::block_names() const {
  std::vector<std::string> names;
  for (const auto& file : files_) {
    for (const auto& block : file->blocks) names.push_back(block->name);
  }
  return names;
}

const BlockDef* Library::find_main_block() const {
  const BlockDef* found = nullptr;
  for (const auto& block : main_file().blocks) {
    if (!block->is_model) continue;
    if (found != nullptr) {
      throw InputError(block->location, fmt::format("found a second model '{}', expected one in a file (the first is "
                                                    "'{}')",
                                                    block->name, found->name));
    }
    found = block.get();
  }
  return found == nullptr && main_file().blocks.size() == 1 ? main_file().blocks.front().get() : found;
}

const BlockDef& Library::main_block() const {
  if (const BlockDef* found = find_main_block()) return *found;
  throw InputError(fmt::format("{}: found {} blocks and none is a 'model', expected one 'model NAME(...) {{ ... }}'",
                               main_file().name, main_file().blocks.size()));
}

const Preset* Library::find_preset(const std::string& name) const {
  for (const Preset& preset : main_file().presets) {
    if (preset.name == name) return &preset;
  }
  return nullptr;
}

}  // namespace mambac
