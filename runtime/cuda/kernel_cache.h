// Machine code of kernels kept on disk, so that a model is compiled once per machine. Losing any of it costs time only.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "runtime/cuda/kernel_entry.h"

namespace mambac::cuda {

/// A folder of entries. Several processes and threads may use one at a time: entries are written beside and renamed, so
/// a reader sees a whole one or none.
class KernelCache {
 public:
  using Notice = std::function<void(const std::string&)>;

  /// $MAMBAC_CACHE, $XDG_CACHE_HOME/mambac or ~/.cache/mambac, and in it a folder for this format of entries. Empty
  /// when the environment names no place.
  static std::filesystem::path default_folder();

  /// Nothing is created before there is something to keep. `notice` is told, once, when nothing can be kept. When
  /// entries have more than `limit` bytes, those used longest ago go.
  explicit KernelCache(std::filesystem::path folder, Notice notice = {}, uint64_t limit = uint64_t{1} << 30);

  const std::filesystem::path& folder() const { return folder_; }

  /// The kept machine code of the request, or else NVRTC's, which is kept then. A damaged entry is as good as none and
  /// replaced. Failures of NVRTC are the caller's, and are not kept. The log of kept machine code is empty.
  Compilation compile(const Nvrtc& nvrtc, const CompileRequest& request);
  /// Removes what is kept of the request: the driver did not take it.
  void forget(const Nvrtc& nvrtc, const CompileRequest& request);

  struct Counts {
    int64_t found = 0, compiled = 0, damaged = 0;  // damaged ones are among the compiled ones
  };
  Counts counts() const { return {found_, compiled_, damaged_}; }

  struct File {
    std::string digest;
    std::filesystem::path path;
    uint64_t bytes = 0;
    double idle_seconds = 0;  // since it was last used, to the hour
  };
  /// Used latest first.
  std::vector<File> files() const;
  /// As KernelEntry::decode. InputError when the file cannot be read.
  static std::string read(const File& file, KernelEntry& entry);
  /// Removes one entry; false when that is not allowed. That it was gone already does not matter.
  static bool remove(const File& file);
  /// Removes what killed writers left behind (an hour ago or more), and what goes beyond the limit.
  void sweep() const;

 private:
  std::filesystem::path path_of(const KernelKey& key) const;
  bool find(const KernelKey& key, Compilation& result);
  void keep(const KernelEntry& entry);
  void give_notice(const std::string& reason);

  std::filesystem::path folder_;
  Notice notice_;
  uint64_t limit_;
  std::atomic<bool> writable_{true};
  std::atomic<uint64_t> unswept_bytes_;  // written since the last sweep
  std::atomic<int64_t> found_{0}, compiled_{0}, damaged_{0};
};

}  // namespace mambac::cuda
