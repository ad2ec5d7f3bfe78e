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

  bool operator==(const TuneTask&) const = default;
};

struct LoggedTrial {
  TuneTask task;
  TriedSchedule tried;
};

/// A file of JSON, one line for each schedule. Lines are added whole; one that was cut off by the end of a process, or
/// that is damaged, is passed over.
class TuneLog {
 public:
  static constexpr const char* kExtension = ".tried.jsonl";  // beside the records

  explicit TuneLog(std::filesystem::path path) : path_(std::move(path)) {}

  /// EnvironmentError when the line cannot be written.
  void add(const LoggedTrial& trial) const;
  /// No lines when there is no file.
  std::vector<LoggedTrial> read() const;
  /// Those of one task.
  std::vector<TriedSchedule> of(const TuneTask& task) const;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace mambac::tools
