// What differs between two texts, line by line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mambac::tools {

/// Lines [begin_a, end_a) of one text stand in the place of [begin_b, end_b) of the other; from 0, either may be empty.
struct Hunk {
  size_t begin_a, end_a, begin_b, end_b;
  bool operator==(const Hunk&) const = default;
};

/// Without their ends.
std::vector<std::string_view> lines_of(std::string_view text);

/// Where two texts differ, in order. Lines that both have once are matched first (as patience diff does), what lies
/// between them by the longest common subsequence, so that texts of many lines with names of their own take little
/// time.
std::vector<Hunk> hunks(const std::vector<std::string_view>& a, const std::vector<std::string_view>& b);

/// As `diff -u` writes it, with three lines around each hunk; empty when the texts are equal.
std::string unified_diff(const std::string& a, const std::string& b, const std::string& name_a,
                         const std::string& name_b);

}  // namespace mambac::tools
