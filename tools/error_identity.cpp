#include "tools/error_identity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <sstream>

namespace mambac::tools {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.';
}

/// A word as messages have it: "scan", "h.2", "70.", "k3_walk_scan".
std::string plain_word(std::string word, const std::set<std::string>& names) {
  std::string behind;
  while (word.ends_with('.')) word.pop_back(), behind += '.';
  const bool is_name = names.contains(word) || word.find('.') != std::string::npos;
  const bool has_digit = std::ranges::any_of(word, [](unsigned char c) { return std::isdigit(c) != 0; });
  const bool is_type = word == "f32" || word == "f16" || word == "bf16" || word == "u8" || word == "i32";
  return (is_name || (has_digit && !is_type) ? "_" : word) + behind;
}

/// The end of what opens at `begin`; the character itself where it does not close.
size_t end_of(const std::string& line, size_t begin, char close) {
  const size_t end = line.find(close, begin + 1);
  return end == std::string::npos ? begin + 1 : end + 1;
}

std::string normalised(const std::string& line, const std::set<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < line.size();) {
    const char c = line[i];
    size_t end = i + 1;
    if (c == '\'' || c == '"' || c == '`')
      end = end_of(line, i, c);
    else if (c == '[')
      end = end_of(line, i, ']');
    if (is_word(c)) {
      while (end < line.size() && is_word(line[end])) ++end;
      text += plain_word(line.substr(i, end - i), names);
    } else {
      text += end > i + 1 ? "_" : std::string(1, c);
    }
    i = end;
  }
  return text;
}

std::string message_of(const std::string& error) {
  std::string message, last;
  std::stringstream lines(error);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("mambac: ") && !line.starts_with("mambac: this is a bug")) message += line + "\n";
    if (!line.empty()) last = line + "\n";
  }
  return message.empty() ? last : message;
}

}  // namespace

std::string error_identity(const ChildEnd& end, const std::set<std::string>& names) {
  if (end.timed_out) return "it does not end\n";
  if (end.code == 0) return "";
  return fmt::format("exit code {}: {}", end.code, normalised(message_of(end.error), names));
}

}  // namespace mambac::tools
