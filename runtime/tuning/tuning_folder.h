// Where records lie: one file for each device in the user's folder, over those that every build carries (models/tuned/).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "runtime/file_lock.h"
#include "runtime/tuning/tuning_record.h"

namespace mambac {

/// "nvidia-h200.json" of "NVIDIA H200": lower case, letters and digits, all else a hyphen.
std::string tuning_file_name(const std::string& device);

/// Why the file of these records cannot have that name, which is by their device; empty when it can.
std::string why_misnamed(const TuningFile& file, const std::filesystem::path& path);

/// The records of a device that every build carries; no records when there are none.
TuningFile shipped_tuning(const std::string& device);
/// The devices that there are such records of.
std::vector<std::string> devices_with_shipped_tuning();

/// What TuningFolder::merge did.
struct TuningMerge {
  MergeCounts counts;
  std::optional<std::filesystem::path> damaged;  // where the file that could not be read is now
};

class TuningFolder {
 public:
  /// $MAMBAC_TUNED, or else $XDG_DATA_HOME/mambac/tuned, or else ~/.local/share/mambac/tuned; empty when none is set.
  static std::filesystem::path default_folder();

  explicit TuningFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path path_of(const std::string& device) const { return folder_ / tuning_file_name(device); }
  /// Where what a search for them tried is kept, beside records.
  static std::filesystem::path log_beside(std::filesystem::path records) { return records.replace_extension(kLog); }
  /// Of all files of records there, or logs without such a file, the records, in the order of their names.
  /// EnvironmentError when the folder cannot be read.
  std::vector<std::filesystem::path> files() const;
  std::vector<std::filesystem::path> files_or_logs() const;

  /// Makes the folder. EnvironmentError when nothing can be written there.
  void prepare() const;
  /// Held while a device is measured, so that two tuners do not disturb each other. It prepares the folder.
  FileLock measuring_lock(const std::string& device) const;

  /// No records when there is no file. InputError when it is damaged, ForeignRecords when it is of another device or
  /// format, EnvironmentError when the folder cannot be read.
  TuningFile read(const std::string& device) const;

  /// Merges records into the file of their device, which is replaced whole or not at all; several processes may do so
  /// at once, and none loses what another wrote. A damaged file is kept beside it under another name (".damaged"),
  /// which is returned; ForeignRecords where it would have the name of another one's. EnvironmentError when the file
  /// cannot be written: it is as before then.
  TuningMerge merge(const TuningFile& found, MergeRule rule = MergeRule::later) const;

  /// Removes the device's file and its log; false when there is neither.
  bool clear(const std::string& device) const { return remove(path_of(device)); }
  /// The same of one of files_or_logs(). EnvironmentError when that is not allowed.
  bool remove(const std::filesystem::path& file) const;

 private:
  static constexpr const char* kLog = ".tried.jsonl";

  void create() const;

  std::filesystem::path folder_;
};

}  // namespace mambac
