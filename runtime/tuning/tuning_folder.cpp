#include "runtime/tuning/tuning_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/folder_of_user.h"
#include "runtime/tuning/shipped_tuning.h"

namespace mambac {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRecords = ".json";

/// Of a file of records, for as long as it is read and written.
class Lock {
 public:
  explicit Lock(const fs::path& file) : lock_(file.parent_path() / fmt::format(".{}.lock", file.filename().string())) {
    lock_.lock();
  }

 private:
  FileLock lock_;
};

/// What writers that were killed left: the lock is held, so none of them is at work.
void remove_unfinished(const fs::path& file) {
  std::error_code error;
  for (fs::directory_iterator entry(file.parent_path(), error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (AtomicFile::is_temporary(entry->path().filename().string(), file)) fs::remove(entry->path(), ignored);
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

/// What is in a folder, in the order of names, but for what is hidden.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (!entry->path().filename().string().starts_with('.')) found.push_back(entry->path());
  if (error && error != std::errc::no_such_file_or_directory)
    throw EnvironmentError(fmt::format("cannot read the folder '{}': {}", folder.string(), error.message()));
  std::ranges::sort(found);
  return found;
}

/// Nothing when there is no such file in its folder.
std::optional<std::string> content_of(const fs::path& file) {
  std::error_code error;
  static_cast<void>(fs::status(file, error));
  if (error == std::errc::no_such_file_or_directory) return {};
  if (error) throw EnvironmentError(fmt::format("cannot read '{}': {}", file.string(), error.message()));
  return read_file(file);
}

TuningFile records_of(const std::string& text, const std::string& device, const fs::path& path) {
  TuningFile file = parse_tuning(text, path.string());
  if (file.device != device)
    throw ForeignRecords(
        fmt::format("'{}': 'device': found \"{}\", expected \"{}\"", path.string(), file.device, device));
  return file;
}

}  // namespace

std::string tuning_file_name(const std::string& device) {
  std::string name = device;
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) c = '-';
  }
  return name + kRecords;
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
  TuningFile records = parse_tuning(std::string(file->text), "models/tuned/" + std::string(file->file));
  return records.device == device ? records : TuningFile{device, {}};
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
  for (const fs::path& path : entries_of(folder_))
    if (path.extension() == kRecords) found.push_back(path);
  return found;
}

std::vector<fs::path> TuningFolder::files_or_logs() const {
  std::set<fs::path> found;
  for (const fs::path& path : entries_of(folder_)) {
    const std::string name = path.string();
    if (path.extension() == kRecords) found.insert(path);
    if (name.ends_with(kLog)) found.insert(name.substr(0, name.size() - std::string_view(kLog).size()) + kRecords);
  }
  return {found.begin(), found.end()};
}

void TuningFolder::create() const {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) throw EnvironmentError(fmt::format("cannot create '{}': {}", folder_.string(), error.message()));
}

void TuningFolder::prepare() const {
  create();
  if (faccessat(AT_FDCWD, folder_.c_str(), W_OK | X_OK, AT_EACCESS) != 0)
    throw EnvironmentError(fmt::format("cannot write in the folder '{}': {}", folder_.string(), std::strerror(errno)));
}

FileLock TuningFolder::measuring_lock(const std::string& device) const {
  prepare();
  return FileLock(folder_ / fmt::format(".{}.measuring.lock", path_of(device).stem().string()));
}

TuningFile TuningFolder::read(const std::string& device) const {
  const std::optional<std::string> text = folder_.empty() ? std::nullopt : content_of(path_of(device));
  return text ? records_of(*text, device, path_of(device)) : TuningFile{device, {}};
}

TuningMerge TuningFolder::merge(const TuningFile& found, MergeRule rule) const {
  if (folder_.empty())
    throw EnvironmentError("records of tuning cannot be kept: neither $MAMBAC_TUNED nor $HOME names a place");
  create();
  const Lock lock(path_of(found.device));
  const fs::path path = end_of_links(path_of(found.device));
  remove_unfinished(path);
  TuningFile file{found.device, {}};
  bool damaged = false;
  if (const std::optional<std::string> text = content_of(path)) try {
      file = records_of(*text, found.device, path);
    } catch (const ForeignRecords&) {
      throw;
    } catch (const InputError&) {
      damaged = true;
    }
  TuningMerge merged;
  merged.counts = mambac::merge(file, found, rule);
  AtomicFile out(path);
  out.write(tuning_text(file));
  if (damaged) merged.damaged = set_aside(path);  // not before there is something to take its place
  out.commit();
  return merged;
}

bool TuningFolder::remove(const fs::path& file) const {
  std::error_code error;
  const fs::path log = log_beside(file);
  if (folder_.empty() || (!fs::exists(file, error) && !fs::exists(log, error))) return false;
  const Lock lock(file);
  for (const fs::path& one : {file, log}) {
    fs::remove(one, error);
    if (error) throw EnvironmentError(fmt::format("cannot remove '{}': {}", one.string(), error.message()));
  }
  return true;
}

}  // namespace mambac
