#include "passes/remark.h"

namespace mambac {

namespace {

constexpr OutcomeInfo kOutcomes[] = {
#define OUTCOME(e, name, meaning) {Outcome::e, name, meaning},
#define REASON(e, code, meaning, remedy)
#include "passes/remarks.def"
#undef OUTCOME
#undef REASON
};

constexpr ReasonInfo kReasons[] = {
#define OUTCOME(e, name, meaning)
#define REASON(e, code, meaning, remedy) {ReasonCode::e, code, meaning, remedy},
#include "passes/remarks.def"
#undef OUTCOME
#undef REASON
};

}  // namespace

std::span<const OutcomeInfo> outcome_table() {
  return kOutcomes;
}

std::span<const ReasonInfo> reason_table() {
  return kReasons;
}

}  // namespace mambac
