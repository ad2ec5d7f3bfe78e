// How deep JSON of others may be nested: what takes such text apart calls itself at each level.
#pragma once

#include <string>
#include <string_view>

namespace mambac {

constexpr int kDeepestJson = 32;

/// InputError, which begins with `where`, when lists and objects lie deeper within each other than kDeepestJson. To be
/// asked before the text is parsed; whether it is JSON is for the parser to say.
void check_json_depth(std::string_view text, const std::string& where);

}  // namespace mambac
