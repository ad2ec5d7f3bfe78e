// What tuning found out about one kernel at one shape on one device, and the text that keeps it.
#pragma once

#include <cstdint>
#include <ctime>
#include <string>
#include <tuple>
#include <vector>

#include "codegen/schedule.h"
#include "ir/error.h"
#include "ir/graph.h"

namespace mambac {

struct TuningRecord {
  std::string kernel;  // KernelKey::digest: what the kernel computes, whatever its schedule
  std::string name;    // in emitted code, for people
  Bindings sizes;      // of the free dimensions that the kernel depends on
  int threads = 0;     // of the CPU's; 0 on a GPU
  Schedule schedule;   // the best one
  Schedule heuristic;  // what the device would have chosen
  double seconds = 0;            // of a launch, the median
  double spread = 0;             // half of the median's 95% interval, relative to it
  double heuristic_seconds = 0;  // measured by turns with it
  double predicted_seconds = 0;  // by the cost model; 0: it has none
  double in_program = 0;         // its time in a program, relative to the heuristic's there; 0: it was not measured there
  int unfinished = 0;            // 1: the search was cut short; a later one goes on
  double error = 0;              // the largest against the reference, in units of what is tolerated
  std::string architecture;      // "znver4", "sm_90"
  std::string toolkit;           // "LLVM 19.1.7", "NVRTC 13.0"
  std::string driver;            // "13.0"; empty on a CPU
  std::string date;              // of time_text(), or the day alone

  bool operator==(const TuningRecord&) const = default;

  /// What a file of records has at most one record of.
  std::tuple<std::string, Bindings, int> work() const { return {kernel, sizes, threads}; }
};

/// All records of one device.
struct TuningFile {
  std::string device;  // "AMD znver4", "NVIDIA H200": which machines share records
  std::vector<TuningRecord> records;
};

/// "2026-11-27T16:05:09Z": of two such texts, or days, the later one is the greater text.
std::string time_text(std::time_t time);

/// Records that are another one's: of another device, or of another version's format.
class ForeignRecords : public InputError {
 public:
  using InputError::InputError;
};

/// JSON, one record a line, in the order of names, kernels and sizes: a file that people read, compare and send. Of a
/// schedule the axes that are not as in Schedule{} are written. InternalError for records that parse_tuning would
/// refuse, so that no file is written that cannot be read.
std::string tuning_text(const TuningFile& file);

/// InputError that names `path`, the record, what is wrong and what was expected: no JSON, a key that is missing,
/// unknown or given twice, an unknown axis, a value that is none, two records of one work; ForeignRecords of another
/// format.
TuningFile parse_tuning(const std::string& text, const std::string& path);

/// What became of records that were merged into others.
struct MergeCounts {
  int added = 0;     // of work that there was no record of
  int replaced = 0;  // took the place of another one
  int same = 0;      // were there already
  int older = 0;     // come before what is there, and were left out
};

/// Which of two records of one kernel, sizes and threads stays.
enum class MergeRule : uint8_t {
  later,  // of equal dates the one whose text is greater, so that the order of merges is of no matter
  from,   // what is merged into the others, whatever their dates: it was measured here and now
};

/// Both are of one device.
MergeCounts merge(TuningFile& into, const TuningFile& from, MergeRule rule = MergeRule::later);

}  // namespace mambac
