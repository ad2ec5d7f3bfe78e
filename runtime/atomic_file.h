// Files that appear whole or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace mambac {

/// Bytes go to a temporary file in the target's folder; commit() makes them durable and moves them into place in one
/// step. Until then the target, if there is one, is untouched; without commit() the temporary file is removed. Of a
/// symbolic link the target is what it leads to. What is no file that could be replaced (a pipe, a terminal) is written
/// as bytes come. EnvironmentError (disk full, no permission, links in a circle) names the file and how far it came.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

  /// Whether a name in the target's folder is that of its temporary file, now or of a process that was killed.
  static bool is_temporary(const std::string& name, const std::filesystem::path& target);

 private:
  [[noreturn]] void fail(const char* what, int error) const;
  void open_special();

  std::filesystem::path target_;
  bool special_ = false;  // no file that could be replaced
  std::string temporary_;
  size_t written_ = 0;
  int descriptor_ = -1;
};

/// What symbolic links lead to, whether it is there or not. EnvironmentError when they lead in a circle.
std::filesystem::path end_of_links(const std::filesystem::path& path);

/// Replaces the file by the text, whole or not at all.
void write_file(const std::filesystem::path& path, std::string_view text);

/// The whole text of a file. InputError when it cannot be read or is larger than `most` bytes.
std::string read_file(const std::filesystem::path& path, size_t most = size_t{64} << 20);

/// Makes the entries of a folder durable (renames and new files in it).
void sync_folder(const std::filesystem::path& folder);

/// Makes `link` a symbolic link to `to`, replacing the old one in one step.
void replace_link(const std::filesystem::path& link, const std::string& to);

}  // namespace mambac
