#include "runtime/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "ir/error.h"
#include "runtime/mapped_file.h"

namespace mambac {
namespace {

namespace fs = std::filesystem;

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

constexpr std::string_view kRandom = "XXXXXX";  // what mkostemp replaces by letters and digits

std::string temporary_beginning(const fs::path& target) {
  return fmt::format(".{}.", target.filename().string());
}

/// Whether it is there, and neither a file nor a folder.
bool is_device_or_pipe(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  return !error && fs::is_other(status);
}

}  // namespace

AtomicFile::AtomicFile(fs::path target) : target_(std::move(target)), special_(is_device_or_pipe(target_)) {
  if (special_) return;
  target_ = end_of_links(target_);
  temporary_ = (folder_of(target_) / (temporary_beginning(target_) + std::string(kRandom))).string();
  descriptor_ = mkostemp(temporary_.data(), O_CLOEXEC);
  if (descriptor_ < 0) fail("create", errno);
  fchmod(descriptor_, 0644);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  if (!special_) unlink(temporary_.c_str());
}

void AtomicFile::fail(const char* what, int error) const {
  const std::string progress = written_ ? fmt::format(" after {} bytes", written_) : "";
  throw EnvironmentError(fmt::format("cannot {} '{}'{}: {}{}", what, target_.string(), progress, std::strerror(error),
                                     special_ ? "" : "; nothing was changed"));
}

/// Not before there is something to write: whoever reads a pipe takes it for whole when it is closed.
void AtomicFile::open_special() {
  descriptor_ = open(target_.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
  if (descriptor_ < 0) fail("open", errno);
}

void AtomicFile::write(const void* data, size_t bytes) {
  if (special_ && descriptor_ < 0) open_special();
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t count = ::write(descriptor_, at, std::min(bytes, size_t{1} << 30));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("write", errno);
    if (count == 0) fail("write", ENOSPC);
    at += count;
    bytes -= static_cast<size_t>(count);
    written_ += static_cast<size_t>(count);
  }
}

void AtomicFile::commit() {
  if (special_) return;
  if (fsync(descriptor_) != 0) fail("write", errno);
  const int descriptor = std::exchange(descriptor_, -1);
  const bool closed = close(descriptor) == 0;
  if (!closed || std::rename(temporary_.c_str(), target_.c_str()) != 0) {
    const int error = errno;
    unlink(temporary_.c_str());
    fail("write", error);
  }
  sync_folder(folder_of(target_));
}

bool AtomicFile::is_temporary(const std::string& name, const fs::path& target) {
  const std::string beginning = temporary_beginning(target);
  return name.starts_with(beginning) && name.size() == beginning.size() + kRandom.size() &&
         std::all_of(name.begin() + static_cast<std::ptrdiff_t>(beginning.size()), name.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0; });
}

fs::path end_of_links(const fs::path& path) {
  constexpr int kMostLinks = 40;
  fs::path end = path;
  std::error_code error;
  for (int links = 0; fs::is_symlink(end, error); ++links) {
    const fs::path to = fs::read_symlink(end, error);
    if (links == kMostLinks) error = std::make_error_code(std::errc::too_many_symbolic_link_levels);
    if (error) throw EnvironmentError(fmt::format("cannot write '{}': {}", path.string(), error.message()));
    end = folder_of(end) / to;
  }
  return end;
}

void write_file(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

std::string read_file(const fs::path& path, size_t most) {
  const MappedFile file(path);
  if (file.size() > most)
    throw InputError(fmt::format("'{}' has {} bytes, expected at most {}", path.string(), file.size(), most));
  return std::string(reinterpret_cast<const char*>(file.data()), file.size());
}

void sync_folder(const fs::path& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0)
    throw EnvironmentError(fmt::format("cannot open folder '{}': {}", folder.string(), std::strerror(errno)));
  const int result = fsync(descriptor);
  const int error = errno;
  close(descriptor);
  // Some file systems cannot sync a folder and say so with EINVAL; there is nothing more to do on them.
  if (result != 0 && error != EINVAL)
    throw EnvironmentError(fmt::format("cannot write folder '{}': {}", folder.string(), std::strerror(error)));
}

void replace_link(const fs::path& link, const std::string& to) {
  const std::string temporary = link.string() + ".new";
  unlink(temporary.c_str());
  if (symlink(to.c_str(), temporary.c_str()) != 0 || std::rename(temporary.c_str(), link.c_str()) != 0) {
    const int error = errno;
    unlink(temporary.c_str());
    throw EnvironmentError(fmt::format("cannot make the link '{}': {}", link.string(), std::strerror(error)));
  }
  sync_folder(folder_of(link));
}

}  // namespace mambac
