#include "passes/remark_reference.h"

#include <fmt/format.h>

#include "passes/remark.h"

namespace mambac {

std::string remark_reference_markdown() {
  std::string page =
      "# Remarks\n\n"
      "Generated from the table of reasons, `passes/remarks.def`, by `cmake --build build --target remark-reference`. "
      "`mambac dump MODEL --remarks` says where fusion stopped: the line of the model, the value that the line names "
      "and its op, what came of it, why, and the code of the reason. `mambac explain MODEL KERNEL` gives such a reason for "
      "every neighbour of a kernel.\n\n"
      "## What came of it\n\n| | |\n|---|---|\n";
  for (const OutcomeInfo& outcome : outcome_table())
    page += fmt::format("| `{}` | {} |\n", outcome.name, outcome.meaning);
  page += "\n## Reasons\n\n| code | why | what would make it fuse |\n|---|---|---|\n";
  for (const ReasonInfo& reason : reason_table())
    page += fmt::format("| `{}` | {} | {} |\n", reason.name, reason.meaning, reason.remedy);
  return page;
}

}  // namespace mambac
