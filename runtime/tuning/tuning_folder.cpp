#include "runtime/tuning/tuning_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/folder_of_user.h"
#include "runtime/tuning/shipped_tuning.h"

namespace mambac {
namespace {

namespace fs = std::filesystem;

/// Of a file of records, for as long as it is read and written. The kernel lets it go when a process dies. The lock's
/// file stays: one that waits for it and one that makes it anew would lock two files.
class Lock {
 public:
  explicit Lock(const fs::path& file) {
    const fs::path path = file.parent_path() / fmt::format(".{}.lock", file.filename().string());
    descriptor_ = open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0644);
    int result = descriptor_ < 0 ? -1 : flock(descriptor_, LOCK_EX);
    while (descriptor_ >= 0 && result != 0 && errno == EINTR) result = flock(descriptor_, LOCK_EX);
    if (result == 0) return;
    const int error = errno;
    if (descriptor_ >= 0) close(descriptor_);
    throw EnvironmentError(fmt::format("cannot lock '{}': {}", path.string(), std::strerror(error)));
  }
  ~Lock() { close(descriptor_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  int descriptor_;
};

/// What writers that were killed left: the lock is held, so none of them is at work.
void remove_unfinished(const fs::path& file) {
  const std::string beginning = fmt::format(".{}.", file.filename().string());
  std::error_code error;
  for (fs::directory_iterator entry(file.parent_path(), error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    std::error_code ignored;
    if (name.starts_with(beginning) && name != beginning + "lock") fs::remove(entry->path(), ignored);
  }
}

/// The name that a damaged file is kept under: one that nothing has.
fs::path set_aside(const fs::path& file) {
  fs::path aside = file.string() + ".damaged";
  std::error_code error;
  for (int i = 2; fs::exists(fs::symlink_status(aside, error)); ++i)
    aside = fmt::format("{}.damaged.{}", file.string(), i);
  fs::rename(file, aside, error);
  if (error)
    throw EnvironmentError(fmt::format("'{}' is damaged and cannot be renamed: {}", file.string(), error.message()));
  return aside;
}

}  // namespace

std::string tuning_file_name(const std::string& device) {
  std::string name = device;
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) c = '-';
  }
  return name + ".json";
}

std::string why_misnamed(const TuningFile& file, const fs::path& path) {
  const std::string expected = tuning_file_name(file.device);
  if (path.filename() == expected) return "";
  return fmt::format("'{}': found the name '{}', expected '{}', that of its device \"{}\"", path.string(),
                     path.filename().string(), expected, file.device);
}

TuningFile shipped_tuning(const std::string& device) {
  const EmbeddedFile* file = find_embedded(shipped_tuning_files(), tuning_file_name(device));
  if (file == nullptr) return {device, {}};
  return parse_tuning(std::string(file->text), "models/tuned/" + std::string(file->file));
}

std::vector<std::string> devices_with_shipped_tuning() {
  std::vector<std::string> devices;
  for (const EmbeddedFile& file : shipped_tuning_files())
    devices.push_back(parse_tuning(std::string(file.text), "models/tuned/" + std::string(file.file)).device);
  return devices;
}

fs::path TuningFolder::default_folder() {
  return folder_of_user("MAMBAC_TUNED", "XDG_DATA_HOME", ".local/share", "mambac/tuned");
}

std::vector<fs::path> TuningFolder::files() const {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    const fs::path& path = entry->path();
    if (path.extension() == ".json" && !path.filename().string().starts_with('.')) found.push_back(path);
  }
  if (error && error != std::errc::no_such_file_or_directory)
    throw EnvironmentError(fmt::format("cannot read the folder '{}': {}", folder_.string(), error.message()));
  std::ranges::sort(found);
  return found;
}

TuningFile TuningFolder::read(const std::string& device) const {
  const fs::path path = path_of(device);
  std::error_code error;
  if (folder_.empty() || !fs::exists(path, error)) return {device, {}};
  TuningFile file = parse_tuning(read_file(path), path.string());
  if (file.device != device)
    throw InputError(fmt::format("'{}': 'device': found \"{}\", expected \"{}\"", path.string(), file.device, device));
  return file;
}

TuningMerge TuningFolder::merge(const TuningFile& found) const {
  if (folder_.empty())
    throw EnvironmentError("records of tuning cannot be kept: neither $MAMBAC_TUNED nor $HOME names a place");
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) throw EnvironmentError(fmt::format("cannot create '{}': {}", folder_.string(), error.message()));
  const fs::path path = path_of(found.device);
  const Lock lock(path);
  remove_unfinished(path);
  TuningFile file{found.device, {}};
  bool damaged = false;
  try {
    file = read(found.device);
  } catch (const InputError&) {
    damaged = true;
  }
  TuningMerge merged;
  merged.counts = mambac::merge(file, found);
  AtomicFile out(path);
  out.write(tuning_text(file));
  if (damaged) merged.damaged = set_aside(path);  // not before there is something to take its place
  out.commit();
  return merged;
}

bool TuningFolder::remove(const fs::path& file) const {
  std::error_code error;
  if (folder_.empty() || !fs::exists(file, error)) return false;
  const Lock lock(file);
  const bool removed = fs::remove(file, error);
  if (error) throw EnvironmentError(fmt::format("cannot remove '{}': {}", file.string(), error.message()));
  return removed;
}

}  // namespace mambac
