// Tokens to syntax tree. The grammar is in docs/language.md.
#pragma once

#include <string>
#include <string_view>

#include "frontend/ast.h"

namespace mambac {

/// Parses one file. InputError names the place, what was found and what was expected.
SourceFile parse_source(std::string_view text, const std::string& file_name);

}  // namespace mambac
