#include "runtime/byte_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "ir/error.h"

namespace mambac {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_below(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path};
  std::vector<fs::path> found;
  try {
    for (auto entry = fs::recursive_directory_iterator(path); entry != fs::recursive_directory_iterator(); ++entry) {
      const bool hidden = entry->path().filename().string().starts_with('.');
      if (hidden && entry->is_directory()) entry.disable_recursion_pending();
      if (!hidden && entry->is_regular_file(error)) found.push_back(entry->path());
    }
  } catch (const fs::filesystem_error& failure) {
    throw InputError(
        fmt::format("cannot read the folder '{}': {}", failure.path1().string(), failure.code().message()));
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace

ByteSource::ByteSource(const fs::path& path) : name_(path.string()) {
  const std::vector<fs::path> paths = files_below(path);
  if (paths.empty()) throw InputError(fmt::format("the folder '{}' has no files, expected text to read", name_));
  for (const fs::path& file : paths) {
    MappedFile mapped(file);
    if (mapped.size() == 0) continue;
    bytes_ += static_cast<int64_t>(mapped.size());
    files_.push_back(std::move(mapped));
  }
  if (bytes_ == 0) throw InputError(fmt::format("the data '{}' is empty", name_));
}

void ByteSource::set_window(int64_t window) {
  window_ = window;
  short_files_ = 0;
  first_positions_.assign(1, 0);
  int64_t longest = 0;
  for (const MappedFile& file : files_) {
    const int64_t size = static_cast<int64_t>(file.size());
    longest = std::max(longest, size);
    short_files_ += size < window;
    first_positions_.push_back(first_positions_.back() + std::max<int64_t>(0, size - window + 1));
  }
  if (positions() == 0)
    throw InputError(
        fmt::format("the data '{}' is shorter than the context: {} has {} bytes, a context of {} needs at least {}",
                    name_, files_.size() == 1 ? "it" : "its longest file", longest, window - 1, window));
}

void ByteSource::copy_window(int64_t position, uint8_t* to) const {
  check(position >= 0 && position < positions(), "ByteSource: no window starts there");
  const auto after = std::ranges::upper_bound(first_positions_, position);
  const size_t index = static_cast<size_t>(after - first_positions_.begin()) - 1;
  const size_t offset = static_cast<size_t>(position - first_positions_[index]);
  std::memcpy(to, files_[index].data() + offset, static_cast<size_t>(window_));
  files_[index].release(offset, static_cast<size_t>(window_));
}

void ByteSource::sample(Rng& rng, int64_t count, uint8_t* to) const {
  for (int64_t i = 0; i < count; ++i)
    copy_window(static_cast<int64_t>(rng.below(static_cast<uint64_t>(positions()))), to + i * window_);
}

}  // namespace mambac
