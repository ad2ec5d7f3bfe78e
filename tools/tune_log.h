// All that a tuner tried, line by line as it tried it: what is known again after an interruption, and what a report shows.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tools/tune_search.h"

namespace mambac::tools {

/// Where and what a schedule was tried for.
struct TuneTask {
  std::string kernel;  // KernelKey::digest
  std::string name;    // in emitted code
  Bindings sizes;
  int threads = 0;
  std::string toolkit{}, driver{};  // as TuningRecord has them

  bool operator==(const TuneTask&) const = default;
};

struct LoggedTrial {
  TuneTask task;
  TriedSchedule tried;
};

/// A file of JSON (TuningFolder::log_beside), one line for each schedule. Lines are added whole; one that was cut off
/// by the end of a process, or that is damaged, is passed over, and so is one of numbers that cannot be. Of several
/// lines of one task's schedule the last one counts.
class TuneLog {
 public:
  explicit TuneLog(std::filesystem::path path) : path_(std::move(path)) {}

  /// EnvironmentError when the line cannot be written.
  void add(const LoggedTrial& trial) const;
  /// No lines when there is no file.
  std::vector<LoggedTrial> read() const;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Those of one task.
std::vector<TriedSchedule> tried_for(const TuneTask& task, const std::vector<LoggedTrial>& trials);

}  // namespace mambac::tools
