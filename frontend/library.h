// The files that make up a definition: the prelude, the main file and what it imports.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "frontend/ast.h"

namespace mambac {

class Library {
 public:
  /// Parses the prelude, then `text` and everything it imports. An import is looked for beside the importing file
  /// (when that is on disk), then among the shipped models. InputError with its place for every mistake.
  Library(const std::string& text, const std::string& file_name);

  /// The file itself, its imports after it, the prelude last.
  const std::vector<std::unique_ptr<SourceFile>>& files() const { return files_; }
  const SourceFile& main_file() const { return *files_.front(); }

  /// A block by name. Blocks of the user's files come before those of the prelude; the prelude sees only itself.
  const BlockDef* find_block(const std::string& name, bool from_prelude = false) const;
  std::vector<std::string> block_names() const;

  /// The main block: the main file's `model`, or its only block. InputError when there is none or more than one.
  const BlockDef& main_block() const;
  /// The same, null when there is none (a file of blocks only).
  const BlockDef* find_main_block() const;
  const Preset* find_preset(const std::string& name) const;

 private:
  void add(std::string text, const std::string& file_name);
  void import(const Import& import, const std::string& importer);
  void check_unique_blocks() const;

  std::vector<std::unique_ptr<SourceFile>> files_;
  std::set<std::string> seen_;  // file names already read
};

/// Without the mark that some editors write at the beginning of UTF-8 text.
std::string without_byte_order_mark(std::string text);

/// The text of a file, without that mark. InputError when it is no readable regular file of at most 64 MiB.
std::string read_text_file(const std::string& path, const Location& wanted_at = {});

}  // namespace mambac
