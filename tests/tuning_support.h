// Records of tuning for tests.
#pragma once

#include "ir/error.h"
#include "runtime/tuning/tuning_record.h"

namespace mambac::test {

inline const std::string kGpu = "Test GPU 1";

/// Of a scan on a GPU, at one length.
inline TuningRecord sample_record(int64_t length, const std::string& date = "2024-11-27") {
  TuningRecord record;
  record.kernel = "00112233445566778899aabbccddeeff";
  record.name = "scan_fwd";
  record.sizes = {{"B", 8}, {"L", length}};
  record.schedule.width = 64;
  record.schedule.tile = 64;
  record.schedule.staged = true;
  record.heuristic.width = 32;
  record.seconds = 1.25e-5;
  record.spread = 0.004;
  record.heuristic_seconds = 2e-5;
  record.error = 0.125;
  record.architecture = "sm_90";
  record.toolkit = "NVRTC 13.0";
  record.driver = "13.0";
  record.date = date;
  return record;
}

/// Of the GPU, records of these lengths.
inline TuningFile sample_file(std::initializer_list<int64_t> lengths) {
  TuningFile file{kGpu, {}};
  for (const int64_t length : lengths) file.records.push_back(sample_record(length));
  return file;
}

/// The only one at that length.
inline const TuningRecord& record_at(const TuningFile& file, int64_t length) {
  const TuningRecord* found = nullptr;
  for (const TuningRecord& record : file.records) {
    if (record.sizes.at("L") != length) continue;
    if (found != nullptr) throw InternalError("two records of one length");
    found = &record;
  }
  if (found == nullptr) throw InternalError("no record of that length");
  return *found;
}

}  // namespace mambac::test
