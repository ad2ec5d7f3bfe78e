// Where records lie: one file for each device in the user's folder, over those that every build carries (models/tuned/).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

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
  /// All files of records there, in the order of their names. EnvironmentError when the folder cannot be read.
  std::vector<std::filesystem::path> files() const;

  /// No records when there is no file. InputError when it is damaged or of another device.
  TuningFile read(const std::string& device) const;

  /// Merges records into the file of their device, which is replaced whole or not at all; several processes may do so
  /// at once, and none loses what another wrote. A file that read() refuses is kept beside it under another name
  /// (".damaged"), which is returned. EnvironmentError when the file cannot be written: it is as before then.
  TuningMerge merge(const TuningFile& found) const;

  /// Removes the device's file; false when there is none.
  bool clear(const std::string& device) const { return remove(path_of(device)); }
  /// Removes one of files(); false when there is none. EnvironmentError when that is not allowed.
  bool remove(const std::filesystem::path& file) const;

 private:
  std::filesystem::path folder_;
};

}  // namespace mambac
