#include "tools/text_diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace mambac::tools {
namespace {

using Match = std::pair<size_t, size_t>;  // lines of a and b that are the same

struct LineRange {
  size_t begin_a, end_a, begin_b, end_b;
  size_t rows() const { return end_a - begin_a; }
  size_t columns() const { return end_b - begin_b; }
};

/// The longest run of matches that goes up in both texts; `matches` goes up in a.
std::vector<Match> increasing(const std::vector<Match>& matches) {
  std::vector<size_t> tails, before(matches.size(), SIZE_MAX);
  for (size_t i = 0; i < matches.size(); ++i) {
    const auto place =
        std::ranges::lower_bound(tails, matches[i].second, {}, [&](size_t k) { return matches[k].second; });
    if (place != tails.begin()) before[i] = *(place - 1);
    if (place == tails.end())
      tails.push_back(i);
    else
      *place = i;
  }
  std::vector<Match> run;
  for (size_t i = tails.empty() ? SIZE_MAX : tails.back(); i != SIZE_MAX; i = before[i]) run.push_back(matches[i]);
  std::ranges::reverse(run);
  return run;
}

class Matcher {
 public:
  Matcher(const std::vector<std::string_view>& a, const std::vector<std::string_view>& b) : a_(a), b_(b) {}

  std::vector<Match> run() {
    match({0, a_.size(), 0, b_.size()});
    std::ranges::sort(matches_);
    return std::move(matches_);
  }

 private:
  void match(LineRange r) {
    while (r.rows() > 0 && r.columns() > 0 && a_[r.begin_a] == b_[r.begin_b])
      matches_.emplace_back(r.begin_a++, r.begin_b++);
    while (r.rows() > 0 && r.columns() > 0 && a_[r.end_a - 1] == b_[r.end_b - 1])
      matches_.emplace_back(--r.end_a, --r.end_b);
    if (r.rows() == 0 || r.columns() == 0) return;
    const std::vector<Match> anchors = increasing(unique_in_both(r));
    if (anchors.empty()) return match_subsequence(r);
    for (const auto& [a, b] : anchors) {
      match({r.begin_a, a, r.begin_b, b});
      matches_.emplace_back(a, b);
      r.begin_a = a + 1;
      r.begin_b = b + 1;
    }
    match(r);
  }

  std::vector<Match> unique_in_both(const LineRange& r) const {
    struct Seen {
      size_t in_a = 0, in_b = 0, place = 0;
    };
    std::map<std::string_view, Seen> seen;
    for (size_t i = r.begin_b; i < r.end_b; ++i) {
      Seen& line = seen[b_[i]];
      ++line.in_b;
      line.place = i;
    }
    for (size_t i = r.begin_a; i < r.end_a; ++i)
      if (const auto line = seen.find(a_[i]); line != seen.end()) ++line->second.in_a;
    std::vector<Match> matches;
    for (size_t i = r.begin_a; i < r.end_a; ++i) {
      const auto line = seen.find(a_[i]);
      if (line != seen.end() && line->second.in_a == 1 && line->second.in_b == 1)
        matches.emplace_back(i, line->second.place);
    }
    return matches;
  }

  /// Too much to compare line by line counts as replaced.
  void match_subsequence(const LineRange& r) {
    constexpr size_t kMost = size_t{1} << 22;
    if (r.rows() * r.columns() > kMost) return;
    const size_t width = r.columns() + 1;
    std::vector<uint32_t> longest((r.rows() + 1) * width);  // from these lines on
    for (size_t i = r.rows(); i-- > 0;)
      for (size_t k = r.columns(); k-- > 0;)
        longest[i * width + k] = a_[r.begin_a + i] == b_[r.begin_b + k]
                                     ? longest[(i + 1) * width + k + 1] + 1
                                     : std::max(longest[(i + 1) * width + k], longest[i * width + k + 1]);
    for (size_t i = 0, k = 0; i < r.rows() && k < r.columns();) {
      if (a_[r.begin_a + i] == b_[r.begin_b + k])
        matches_.emplace_back(r.begin_a + i++, r.begin_b + k++);
      else if (longest[(i + 1) * width + k] >= longest[i * width + k + 1])
        ++i;
      else
        ++k;
    }
  }

  const std::vector<std::string_view>& a_;
  const std::vector<std::string_view>& b_;
  std::vector<Match> matches_;
};

std::string range_text(size_t begin, size_t end) {
  const size_t count = end - begin;
  return count == 1 ? std::to_string(begin + 1) : fmt::format("{},{}", count == 0 ? begin : begin + 1, count);
}

}  // namespace

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

std::vector<Hunk> hunks(const std::vector<std::string_view>& a, const std::vector<std::string_view>& b) {
  std::vector<Match> matches = Matcher(a, b).run();
  matches.emplace_back(a.size(), b.size());
  std::vector<Hunk> found;
  size_t next_a = 0, next_b = 0;
  for (const auto& [line_a, line_b] : matches) {
    if (line_a > next_a || line_b > next_b) found.push_back({next_a, line_a, next_b, line_b});
    next_a = line_a + 1;
    next_b = line_b + 1;
  }
  return found;
}

std::string unified_diff(const std::string& a, const std::string& b, const std::string& name_a,
                         const std::string& name_b) {
  constexpr size_t kAround = 3;
  const std::vector<std::string_view> lines_a = lines_of(a), lines_b = lines_of(b);
  const std::vector<Hunk> all = hunks(lines_a, lines_b);
  if (all.empty()) return "";
  std::string text = fmt::format("--- {}\n+++ {}\n", name_a, name_b);
  const auto add = [&](char mark, std::string_view line) { text += fmt::format("{}{}\n", mark, line); };
  for (size_t first = 0, next; first < all.size(); first = next) {
    for (next = first + 1; next < all.size() && all[next].begin_a - all[next - 1].end_a <= 2 * kAround;) ++next;
    const size_t before = std::min(kAround, all[first].begin_a), last = next - 1;
    const size_t after = std::min(kAround, lines_a.size() - all[last].end_a);
    text += fmt::format("@@ -{} +{} @@\n", range_text(all[first].begin_a - before, all[last].end_a + after),
                        range_text(all[first].begin_b - before, all[last].end_b + after));
    size_t shown = all[first].begin_a - before;
    for (size_t i = first; i < next; ++i) {
      while (shown < all[i].begin_a) add(' ', lines_a[shown++]);
      while (shown < all[i].end_a) add('-', lines_a[shown++]);
      for (size_t k = all[i].begin_b; k < all[i].end_b; ++k) add('+', lines_b[k]);
    }
    while (shown < all[last].end_a + after) add(' ', lines_a[shown++]);
  }
  return text;
}

}  // namespace mambac::tools
