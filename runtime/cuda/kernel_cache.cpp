#include "runtime/cuda/kernel_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <optional>

#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/folder_of_user.h"

namespace mambac::cuda {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSuffix = ".kernel";
constexpr double kHour = 3600;

std::optional<std::string> contents_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

/// Seconds since the file was written or marked as used; none when it is gone.
std::optional<double> age_of(const fs::path& path) {
  std::error_code error;
  const auto time = fs::last_write_time(path, error);
  if (error) return std::nullopt;
  return std::chrono::duration<double>(fs::file_time_type::clock::now() - time).count();
}

/// Marks the file as used, at most once an hour. Where that is not allowed, nothing is lost but the order of removal.
void mark_used(const fs::path& path) {
  const auto age = age_of(path);
  if (age && *age > kHour) utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
}

}  // namespace

fs::path KernelCache::default_folder() {
  const fs::path root = folder_of_user("MAMBAC_CACHE", "XDG_CACHE_HOME", ".cache", "mambac");
  return root.empty() ? root : root / "kernels-1";
}

KernelCache::KernelCache(fs::path folder, Notice notice, uint64_t limit)
    : folder_(std::move(folder)), notice_(std::move(notice)), limit_(limit), unswept_bytes_(limit) {}

fs::path KernelCache::path_of(const KernelKey& key) const {
  return folder_ / (key.digest() + kSuffix);
}

Compilation KernelCache::compile(const Nvrtc& nvrtc, const CompileRequest& request) {
  KernelEntry entry;
  entry.key = KernelKey::of(request, nvrtc.version());
  Compilation result;
  if (find(entry.key, result)) return result;
  result = nvrtc.compile(request);
  ++compiled_;
  entry.kernels = result.kernels;
  entry.cubin = result.cubin;
  keep(entry);
  return result;
}

bool KernelCache::find(const KernelKey& key, Compilation& result) {
  if (folder_.empty()) return false;
  const fs::path path = path_of(key);
  const auto bytes = contents_of(path);
  if (!bytes) return false;
  KernelEntry entry;
  if (!KernelEntry::decode(*bytes, entry).empty()) {
    ++damaged_;
    std::error_code ignored;
    fs::remove(path, ignored);  // when that fails, the new entry replaces it
    return false;
  }
  if (entry.key.text() != key.text()) return false;  // two keys of one hash
  mark_used(path);
  ++found_;
  result.cubin = std::move(entry.cubin);
  result.kernels = std::move(entry.kernels);
  return true;
}

void KernelCache::keep(const KernelEntry& entry) {
  if (!writable_) return;
  if (folder_.empty()) return give_notice("neither $MAMBAC_CACHE nor $HOME names a place");
  try {
    std::error_code error;
    fs::create_directories(folder_, error);
    if (error) return give_notice(fmt::format("cannot create '{}': {}", folder_.string(), error.message()));
    const std::string bytes = entry.encode();
    write_file(path_of(entry.key), bytes);
    // Reading the folder's sizes costs more than an entry: only now and then.
    if ((unswept_bytes_ += bytes.size()) > limit_ / 16) {
      unswept_bytes_ = 0;
      sweep();
    }
  } catch (const EnvironmentError& failure) {
    give_notice(failure.what());
  }
}

void KernelCache::give_notice(const std::string& reason) {
  if (writable_.exchange(false) && notice_)
    notice_(fmt::format("kernels are not kept and will be compiled again: {}", reason));
}

void KernelCache::forget(const Nvrtc& nvrtc, const CompileRequest& request) {
  std::error_code ignored;
  fs::remove(path_of(KernelKey::of(request, nvrtc.version())), ignored);
}

std::vector<KernelCache::File> KernelCache::files() const {
  std::vector<File> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    const fs::path& path = entry->path();
    std::error_code gone;  // another process may remove it meanwhile
    const uint64_t bytes = fs::file_size(path, gone);
    const auto age = age_of(path);
    if (path.extension() == kSuffix && !gone && age) found.push_back({path.stem().string(), path, bytes, *age});
  }
  std::sort(found.begin(), found.end(), [](const File& a, const File& b) {
    return a.idle_seconds != b.idle_seconds ? a.idle_seconds < b.idle_seconds : a.digest < b.digest;
  });
  return found;
}

std::string KernelCache::read(const File& file, KernelEntry& entry) {
  const auto bytes = contents_of(file.path);
  if (!bytes) throw InputError(fmt::format("'{}' cannot be read", file.path.string()));
  return KernelEntry::decode(*bytes, entry);
}

bool KernelCache::remove(const File& file) {
  std::error_code error;
  fs::remove(file.path, error);
  return !error;
}

void KernelCache::sweep() const {
  std::error_code error;
  for (fs::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    // AtomicFile's name of a file that is not finished.
    if (!entry->path().filename().string().starts_with('.')) continue;
    std::error_code ignored;
    if (const auto age = age_of(entry->path()); age && *age > kHour) fs::remove(entry->path(), ignored);
  }
  uint64_t bytes = 0;
  for (const File& file : files()) {
    bytes += file.bytes;
    if (bytes > limit_) remove(file);
  }
}

}  // namespace mambac::cuda
