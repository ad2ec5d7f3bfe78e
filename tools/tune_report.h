// One page of what tuning found on a device: for each kernel its landscape of schedules as a picture.
#pragma once

#include <string>
#include <vector>

#include "runtime/tuning/tuning_record.h"
#include "tools/tune_log.h"

namespace mambac::tools {

/// An HTML page, with no need of a network or another file: for each record, those that take the longest first, the
/// ratios of all schedules that were timed for it, the chosen one and the heuristic, and predictions against
/// measurements where there are such.
std::string tuning_page(const TuningFile& records, const std::vector<LoggedTrial>& trials);

}  // namespace mambac::tools
