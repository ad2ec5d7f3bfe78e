#include "runtime/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "ir/error.h"

namespace mambac {
namespace {

[[noreturn]] void cannot_lock(const std::filesystem::path& file, int error) {
  throw EnvironmentError(fmt::format("cannot lock '{}': {}", file.string(), std::strerror(error)));
}

}  // namespace

FileLock::FileLock(const std::filesystem::path& file)
    : file_(file), descriptor_(open(file.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) cannot_lock(file_, errno);
}

FileLock::~FileLock() {
  close(descriptor_);
}

void FileLock::lock() {
  lock(LOCK_EX);
}

bool FileLock::try_lock() {
  return lock(LOCK_EX | LOCK_NB);
}

bool FileLock::lock(int how) {
  int result = flock(descriptor_, how);
  while (result != 0 && errno == EINTR) result = flock(descriptor_, how);
  if (result != 0 && errno != EWOULDBLOCK) cannot_lock(file_, errno);
  return result == 0;
}

}  // namespace mambac
