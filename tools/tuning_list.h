// Records of tuning as commands show them.
#pragma once

#include <string>
#include <vector>

#include "runtime/tuning/tuned_schedules.h"
#include "tools/arguments.h"

namespace mambac::tools {

struct KeptRecord {
  TuningRecord record;
  RecordSource source;
};

/// All of one device: the user's, and the shipped ones of other work. In the order of names, kernels and sizes.
struct KeptRecords {
  std::string device;
  std::vector<KeptRecord> records;

  TuningFile file() const;
};

/// Of one device, or, when it is empty, of all. A device may be named as its file is ("nvidia-h200"). InputError when
/// there are no records of it, or its file is damaged; other damaged files are passed over with a warning.
std::vector<KeptRecords> kept_records(const std::string& device);

/// "B=8 L=8192 threads=16"
std::string work_text(const TuningRecord& record);

void print_list(const std::vector<KeptRecords>& devices);
/// Everything about one record, with its schedules side by side.
void print_record(const std::string& device, const KeptRecord& kept);
Json record_json(const std::string& device, const KeptRecord& kept);

}  // namespace mambac::tools
