#include "runtime/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "ir/error.h"

namespace mambac {
namespace {

/// The kernel maps this much around a page it is asked for (fault-around), so that much is given back.
constexpr size_t kNeighbourhood = 64 * 1024;

}  // namespace

MappedFile::MappedFile(std::filesystem::path path) : path_(std::move(path)) {
  const int descriptor = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) throw InputError(fmt::format("cannot open '{}': {}", path_.string(), std::strerror(errno)));
  struct stat status {};
  const bool known = fstat(descriptor, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    close(descriptor);
    const char* found = known && S_ISDIR(status.st_mode) ? "a folder" : "not a regular file";
    throw InputError(fmt::format("cannot read '{}': it is {}, expected a file", path_.string(), found));
  }
  size_ = static_cast<size_t>(status.st_size);
  void* mapped = size_ ? mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0) : nullptr;
  const int error = errno;
  close(descriptor);
  if (mapped == MAP_FAILED)
    throw EnvironmentError(fmt::format("cannot map '{}' into memory: {}", path_.string(), std::strerror(error)));
  data_ = static_cast<const uint8_t*>(mapped);
}

MappedFile::~MappedFile() {
  if (data_) munmap(const_cast<uint8_t*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::release(size_t begin, size_t bytes) const {
  if (!data_ || bytes == 0) return;
  const size_t from = begin / kNeighbourhood * kNeighbourhood;
  const size_t to = std::min(size_, (begin + bytes + kNeighbourhood - 1) / kNeighbourhood * kNeighbourhood);
  madvise(const_cast<uint8_t*>(data_) + from, to - from, MADV_DONTNEED);
}

}  // namespace mambac
