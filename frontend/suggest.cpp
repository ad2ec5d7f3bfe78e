#include "frontend/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <numeric>

namespace mambac {
namespace {

constexpr size_t kLongestName = 64;  // longer names are not worth the quadratic search

/// Insertions, deletions, replacements and swaps of neighbours between two words, letter case counting half (times 2).
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), row(b.size() + 1), next(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = 2 * j;
  for (size_t i = 1; i <= a.size(); ++i) {
    next[0] = 2 * i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool same = a[i - 1] == b[j - 1];
      const bool same_letter =
          std::tolower(static_cast<unsigned char>(a[i - 1])) == std::tolower(static_cast<unsigned char>(b[j - 1]));
      const size_t replace = row[j - 1] + (same ? 0 : same_letter ? 1 : 2);
      next[j] = std::min({row[j] + 2, next[j - 1] + 2, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        next[j] = std::min(next[j], before[j - 2] + 2);
      }
    }
    before = row;
    row = next;
  }
  return row[b.size()];
}

}  // namespace

std::string did_you_mean(std::string_view found, const std::vector<std::string>& known) {
  if (found.size() > kLongestName) return "";
  size_t best = std::max<size_t>(2, found.size() / 3 * 2);
  const std::string* nearest = nullptr;
  for (const std::string& name : known) {
    if (name.size() > kLongestName || name == found) continue;
    const size_t d = distance(found, name);
    if (d < best || (d == best && nearest == nullptr)) {
      best = d;
      nearest = &name;
    }
  }
  // A word of one letter is near to every other one: only its other case is a likely slip.
  if (nearest == nullptr || (best > 1 && best >= 2 * std::max(found.size(), nearest->size()))) return "";
  return fmt::format(", did you mean '{}'?", *nearest);
}

}  // namespace mambac
