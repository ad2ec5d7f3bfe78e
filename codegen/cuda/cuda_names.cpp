#include "codegen/cuda/cuda_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string_view>

namespace mambac::cuda_emit {

namespace {

const std::set<std::string> kWords{
    // the language's
    "alignas", "alignof", "and", "asm", "auto", "bool", "break", "case", "catch", "char", "class", "compl", "const",
    "constexpr", "continue", "decltype", "default", "delete", "do", "double", "else", "enum", "explicit", "export",
    "extern", "false", "float", "for", "friend", "goto", "if", "inline", "int", "long", "mutable", "namespace", "new",
    "noexcept", "not", "nullptr", "operator", "or", "private", "protected", "public", "register", "return", "short",
    "signed", "sizeof", "static", "struct", "switch", "template", "this", "throw", "true", "try", "typedef", "typeid",
    "typename", "union", "unsigned", "using", "virtual", "void", "volatile", "while", "xor",
    // functions that the text calls or that a compiler knows
    "abs", "cos", "exp", "log", "main", "max", "min", "sin", "sqrt", "tanh",
    // variables of every function
    "lane", "piece", "r", "thread"};

/// A loop's variable (i3), a value (v3), a block of columns (b3), a counter (k3), values that are summed (r3).
bool is_numbered(const std::string& name) {
  return name.size() > 1 && std::string_view("ivbkr").find(name[0]) != std::string_view::npos &&
         std::all_of(name.begin() + 1, name.end(), [](unsigned char c) { return std::isdigit(c); });
}

bool is_taken(const std::string& name) {
  return is_numbered(name) || kWords.count(name) || name.rfind("mb_", 0) == 0 || name.rfind("MB_", 0) == 0 ||
         name.find("__") != std::string::npos;
}

}  // namespace

std::string Names::make(const std::string& wanted) {
  std::string name;
  for (char c : wanted) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0])) || is_taken(name)) name = "x_" + name;
  std::string unique = name;
  for (int i = 2; !used_.insert(unique).second; ++i) unique = fmt::format("{}_{}", name, i);
  return unique;
}

}  // namespace mambac::cuda_emit
