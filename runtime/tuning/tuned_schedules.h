// Which schedule a kernel gets: a record's where there is one, else the device's own.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "runtime/program.h"
#include "runtime/tuning/kernel_key.h"
#include "runtime/tuning/tuning_record.h"

namespace mambac {

/// Where a record comes from.
enum class RecordSource : uint8_t { shipped, user, pinned };

struct TunedChoice {
  const TuningRecord* record = nullptr;  // null: there is none, and the schedule is the device's own
  RecordSource source{};
  double distance = 0;  // of the record's sizes from those that were asked for; see TunedSchedules
  bool same_sizes = false;  // the threads may be others
};

/// The records of one device, searched by kernel and sizes.
///
/// The record of a kernel whose sizes are nearest serves, where its distance is at most kFarthest: the sum over the free
/// dimensions, and the number of threads, of |log2(size / record's size)|. A size that is not known counts nothing. Of
/// equally near ones a pinned one comes before the user's, the user's before the shipped one, then the larger sizes. A
/// record whose schedule is illegal for the kernel is passed over, and so is one of a library's algorithm at other sizes
/// or of another version of the library, where that number stands for another one.
class TunedSchedules {
 public:
  static constexpr double kFarthest = 6;

  struct Layer {
    RecordSource source;
    TuningFile file;
  };
  /// `threads` and `library` of the device (DeviceModel); of one that is only described, no library: any version is it.
  TunedSchedules(std::vector<Layer> layers, int threads, std::string library = "");

  bool empty() const { return by_kernel_.empty(); }
  TunedChoice find(const Graph& fused, int number, DeviceKind kind, const Bindings& sizes) const;

  /// The record that find() returns, where it was measured at these very sizes, with however many threads; else null. It
  /// counts as used.
  const TuningRecord* measured(const Graph& fused, int number, DeviceKind kind, const Bindings& sizes) const;

  /// Those of `own` where there is no record for a kernel. This must outlive what is returned.
  Program::Scheduler scheduler(const Program::Scheduler& own, DeviceKind kind, const Bindings& sizes) const;

  /// The records that such schedulers and measured() have handed out so far. Programs that get these records and no
  /// others have the same schedules again.
  std::vector<TuningRecord> used() const;

 private:
  struct Entry {
    RecordSource source;
    TuningRecord record;
  };
  std::multimap<std::string, Entry> by_kernel_;  // by digest
  mutable std::set<const TuningRecord*> used_;
  int threads_;
  std::string library_;
};

}  // namespace mambac
