#include "runtime/json_depth.h"

#include <fmt/format.h>

#include "ir/error.h"

namespace mambac {

void check_json_depth(std::string_view text, const std::string& where) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') quoted = !quoted;
    if (quoted && c == '\\') ++i;
    if (quoted) continue;
    if (c == ']' || c == '}') --depth;
    if ((c == '[' || c == '{') && ++depth > kDeepestJson)
      throw InputError(
          fmt::format("{} is damaged: found lists or objects within each other more than {} deep at byte {}, "
                      "expected fewer",
                      where, kDeepestJson, i));
  }
}

}  // namespace mambac
