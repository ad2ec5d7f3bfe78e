// Training and held-out data: the bytes of a file, or of all files of a folder, mapped into memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "runtime/mapped_file.h"
#include "runtime/rng.h"

namespace mambac {

/// The files whose bytes are read: the file itself, or every regular file below the folder (hidden ones left out) in
/// the order of their paths. A window is a run of consecutive bytes of one file; it never spans two files.
class ByteSource {
 public:
  /// InputError when the path is missing, unreadable, or has no bytes.
  explicit ByteSource(const std::filesystem::path& path);

  const std::string& name() const { return name_; }
  const std::vector<MappedFile>& files() const { return files_; }
  int64_t bytes() const { return bytes_; }

  /// Sets the length of windows in bytes (a context of L predicted bytes needs L + 1). Files shorter than that are
  /// left out; InputError, with the bytes found and needed, when no file is long enough.
  void set_window(int64_t window);
  int64_t window() const { return window_; }
  /// Files too short for a window.
  int64_t short_files() const { return short_files_; }
  /// The number of places where a window can start, over all files.
  int64_t positions() const { return first_positions_.back(); }

  /// Copies the window that starts at the given place (0 <= position < positions()) to `to`.
  void copy_window(int64_t position, uint8_t* to) const;
  /// Copies `count` windows at independent, uniformly drawn places to `to`, one after the other.
  void sample(Rng& rng, int64_t count, uint8_t* to) const;

 private:
  std::string name_;
  std::vector<MappedFile> files_;
  int64_t bytes_ = 0;
  int64_t window_ = 0;
  int64_t short_files_ = 0;
  std::vector<int64_t> first_positions_{0};  // of each file, then the sum
};

}  // namespace mambac
