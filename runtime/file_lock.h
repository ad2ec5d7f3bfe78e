// A lock that one process has at a time.
#pragma once

#include <filesystem>

namespace mambac {

/// On a file of its own, which is made when there is none. The kernel lets it go when a process dies. The file stays:
/// one that waits for it and one that makes it anew would lock two files. EnvironmentError when that is not possible.
class FileLock {
 public:
  /// Not locked yet.
  explicit FileLock(const std::filesystem::path& file);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  /// Waits until the lock is free.
  void lock();
  /// False when another process has it.
  bool try_lock();

 private:
  bool lock(int how);

  std::filesystem::path file_;
  int descriptor_;
};

}  // namespace mambac
