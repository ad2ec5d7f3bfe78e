#include "runtime/cuda/kernel_list.h"

#include <cctype>

#include "ir/error.h"

namespace mambac {
namespace {

bool in_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
}

/// The text with comments blanked.
std::string without_comments(std::string_view text) {
  std::string code(text);
  for (size_t at = 0; at + 1 < code.size(); ++at) {
    if (code[at] != '/' || (code[at + 1] != '/' && code[at + 1] != '*')) continue;
    const bool line = code[at + 1] == '/';
    size_t end = code.find(line ? "\n" : "*/", at + 2);
    end = end == std::string::npos ? code.size() : end + (line ? 0 : 2);
    code.replace(at, end - at, end - at, ' ');
  }
  return code;
}

/// From an opening parenthesis to its closing one: what lies between commas at the outermost level. `at` moves behind
/// it.
std::vector<std::string> parenthesised(const std::string& code, size_t& at) {
  std::vector<std::string> parts(1);
  for (int depth = 0; at < code.size(); ++at) {
    const char c = code[at];
    if (c == '(' && depth++ == 0) continue;
    if (c == ')' && --depth == 0) {
      ++at;
      return parts;
    }
    if (c == ',' && depth == 1)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  throw InternalError("a kernel's parameters have no closing parenthesis");
}

std::string last_word(const std::string& text) {
  size_t end = text.size();
  while (end > 0 && !in_word(text[end - 1])) --end;
  size_t begin = end;
  while (begin > 0 && in_word(text[begin - 1])) --begin;
  return text.substr(begin, end - begin);
}

}  // namespace

std::vector<KernelSignature> kernels_of(std::string_view text) {
  const std::string code = without_comments(text), mark = "MB_KERNEL";
  std::vector<KernelSignature> kernels;
  for (size_t at = code.find(mark); at != std::string::npos; at = code.find(mark, at)) {
    KernelSignature kernel;
    at = code.find('(', at);
    check(at != std::string::npos, "MB_KERNEL without a size");
    kernel.threads = parenthesised(code, at)[0];
    const size_t open = code.find('(', at);
    check(open != std::string::npos, "MB_KERNEL without parameters");
    kernel.name = last_word(code.substr(at, open - at));
    at = open;
    for (const std::string& parameter : parenthesised(code, at)) kernel.parameters.push_back(last_word(parameter));
    kernels.push_back(std::move(kernel));
  }
  return kernels;
}

}  // namespace mambac
