// What `mambac compare` says.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/arguments.h"
#include "tools/compare.h"
#include "tools/gradient_check.h"
#include "tools/pass_check.h"

namespace mambac::tools {

struct CompareResult {
  std::optional<WrongRule> rule;  // of the second stage's graph, of which gradients are taken
  std::optional<WrongPass> pass;
  std::vector<std::pair<std::string, Comparison>> devices;  // none where a rule or a pass is wrong

  bool good() const;
};

/// `stages`: see find_wrong_pass. `with_rules`: gradient rules were checked.
void print_result(const CompareResult& result, const std::vector<StageGraph>& stages, bool with_rules);

/// Adds what was found to a report.
void add_result(const CompareResult& result, const std::vector<StageGraph>& stages, Json& report);

}  // namespace mambac::tools
