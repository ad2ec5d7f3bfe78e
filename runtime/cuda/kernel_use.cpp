#include "runtime/cuda/kernel_use.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <utility>

namespace mambac::cuda {
namespace {

/// The number that stands before the words in "..., 5516 bytes spill stores, ..."; 0 when they are not there. Words
/// that come several times ("bytes cmem" of several banks) are added.
int number_before(std::string_view line, std::string_view words) {
  int sum = 0;
  for (size_t at = line.find(words); at != std::string_view::npos; at = line.find(words, at + words.size())) {
    size_t begin = at;
    while (begin > 0 && line[begin - 1] >= '0' && line[begin - 1] <= '9') --begin;
    int value = 0;
    std::from_chars(line.data() + begin, line.data() + at, value);
    sum += value;
  }
  return sum;
}

/// "Used 64 registers"
int registers_of(std::string_view line) {
  return number_before(line, " registers");
}

std::string_view quoted(std::string_view line) {
  const size_t begin = line.find('\'');
  const size_t end = begin == std::string_view::npos ? begin : line.find('\'', begin + 1);
  return end == std::string_view::npos ? std::string_view() : line.substr(begin + 1, end - begin - 1);
}

class Report {
 public:
  /// Whether the line belongs to the report.
  bool take(std::string_view line) {
    if (!line.starts_with("ptxas")) return false;
    const std::string_view name_of_properties = after(line, "Function properties for ");
    if (line.find("Compiling entry function") != std::string_view::npos) {
      entry_ = use_of(quoted(line));
    } else if (!name_of_properties.empty()) {
      described_ = use_of(name_of_properties);
    } else if (line.find("bytes stack frame") != std::string_view::npos && described_ != kNone) {
      KernelUse& use = uses_[described_];
      use.stack = std::max(use.stack, number_before(line, " bytes stack frame"));
      use.spill_stores = number_before(line, " bytes spill stores");
      use.spill_loads = number_before(line, " bytes spill loads");
    } else if (registers_of(line) > 0 && entry_ != kNone) {
      KernelUse& use = uses_[entry_];
      use.registers = registers_of(line);
      use.stack = std::max(use.stack, number_before(line, " bytes cumulative stack size"));
      use.shared = number_before(line, " bytes smem");
      use.constant = number_before(line, " bytes cmem[");
    } else {
      return line.starts_with("ptxas info");
    }
    return true;
  }
  std::vector<KernelUse> uses() && { return std::move(uses_); }

 private:
  static constexpr size_t kNone = static_cast<size_t>(-1);

  static std::string_view after(std::string_view line, std::string_view words) {
    const size_t at = line.find(words);
    return at == std::string_view::npos ? std::string_view() : line.substr(at + words.size());
  }
  size_t use_of(std::string_view name) {
    for (size_t i = 0; i < uses_.size(); ++i)
      if (uses_[i].name == name) return i;
    uses_.push_back({.name = std::string(name)});
    return uses_.size() - 1;
  }

  std::vector<KernelUse> uses_;
  size_t entry_ = kNone, described_ = kNone;
};

}  // namespace

std::vector<KernelUse> take_kernel_uses(std::string& log) {
  Report report;
  std::string rest;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);)
    if (!report.take(line)) rest += line + "\n";
  const size_t begin = std::min(rest.find_first_not_of('\n'), rest.size());
  const size_t end = rest.find_last_not_of('\n');
  log = end == std::string::npos ? "" : rest.substr(begin, end + 1 - begin);
  return std::move(report).uses();
}

std::string kernel_uses_text(const std::vector<KernelUse>& uses) {
  std::string text;
  for (const KernelUse& use : uses)
    text += fmt::format("{} {} {} {} {} {} {}\n", use.name, use.registers, use.spill_stores, use.spill_loads, use.stack,
                        use.shared, use.constant);
  return text;
}

bool parse_kernel_uses(std::string_view text, std::vector<KernelUse>& uses) {
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    KernelUse use;
    words >> use.name >> use.registers >> use.spill_stores >> use.spill_loads >> use.stack >> use.shared >>
        use.constant;
    if (!words) return false;
    uses.push_back(std::move(use));
  }
  return true;
}

}  // namespace mambac::cuda
