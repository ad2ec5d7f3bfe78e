// What a pass has to say to the person who tunes a model: why something was, or was not, done at a line of it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/error.h"
#include "ir/op.h"

namespace mambac {

/// What a remark is about. The lists are in passes/remarks.def.
enum class Outcome : uint8_t {
#define OUTCOME(e, name, meaning) e,
#define REASON(e, code, meaning, remedy)
#include "passes/remarks.def"
#undef OUTCOME
#undef REASON
};

enum class ReasonCode : uint8_t {
#define OUTCOME(e, name, meaning)
#define REASON(e, code, meaning, remedy) e,
#include "passes/remarks.def"
#undef OUTCOME
#undef REASON
};

struct OutcomeInfo {
  Outcome outcome;
  std::string_view name, meaning;
};

struct ReasonInfo {
  ReasonCode code;
  std::string_view name;  // a short stable word to filter by: "late-value"
  std::string_view meaning;
  std::string_view remedy;  // what would make it fuse
};

std::span<const OutcomeInfo> outcome_table();
std::span<const ReasonInfo> reason_table();
inline const OutcomeInfo& info(Outcome outcome) {
  return outcome_table()[static_cast<size_t>(outcome)];
}
inline const ReasonInfo& info(ReasonCode code) {
  return reason_table()[static_cast<size_t>(code)];
}

/// Why nodes do not share a kernel.
struct Reason {
  ReasonCode code;
  std::string text;  // one sentence, with the names of nodes and dimensions
};

/// Where a function that says no leaves the reason.
using Why = std::optional<Reason>;

struct Remark {
  std::string pass;  // "fuse"
  Outcome outcome;
  ReasonCode code;
  Location location;  // of the node in the model's text
  Op op;
  std::string node;  // its name
  std::string text;  // one sentence
};

using Remarks = std::vector<Remark>;

}  // namespace mambac
