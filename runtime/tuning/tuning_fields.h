// The fields of a record in the text of a file of records.
#pragma once

#include "runtime/tuning/tuning_record.h"

namespace mambac {

constexpr int kTuningFormat = 1;
// The fields that are missing where they are 0.
constexpr const char* kInProgram = "in_program";
constexpr const char* kUnfinished = "unfinished";

/// Calls visit(name, field) for every field, in the order of the file, so that reading and writing cannot differ.
template <class Record, class Visit>
void each_field(Record& record, Visit visit) {
  visit("name", record.name);
  visit("kernel", record.kernel);
  visit("sizes", record.sizes);
  visit("threads", record.threads);
  visit("schedule", record.schedule);
  visit("heuristic", record.heuristic);
  visit("seconds", record.seconds);
  visit("spread", record.spread);
  visit("heuristic_seconds", record.heuristic_seconds);
  visit("predicted_seconds", record.predicted_seconds);
  visit(kInProgram, record.in_program);
  visit(kUnfinished, record.unfinished);
  visit("error", record.error);
  visit("architecture", record.architecture);
  visit("toolkit", record.toolkit);
  visit("driver", record.driver);
  visit("date", record.date);
}

}  // namespace mambac
