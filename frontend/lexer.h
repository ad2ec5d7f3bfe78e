// Model text to tokens.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ir/error.h"

namespace mambac {

struct Token {
  enum Kind : uint8_t {
    end,
    name,    // identifier; `quoted` names too
    number,  // 12, 0.5, 1e-5
    string,  // text without the quotes
    word,    // the name of a preset: 353m-hub
    symbol,  // one of ( ) [ ] { } < > , : = ? @ + - * / ->
  };
  Kind kind = end;
  std::string text;
  double value = 0;      // number
  bool integer = false;  // number without point and exponent
  bool quoted = false;   // name in backticks: never a keyword
  Location location;
  size_t offset = 0;  // in bytes, of the first and the byte after the last
  size_t end_offset = 0;

  bool is(std::string_view symbol_text) const { return kind == symbol && text == symbol_text; }
  bool is_word(std::string_view keyword) const { return kind == name && !quoted && text == keyword; }
};

/// All tokens, the last of kind `end`. InputError for bytes that are no text of the language: NUL, broken UTF-8,
/// open strings, malformed numbers, characters without a meaning, texts above 64 MiB.
std::vector<Token> tokenize(std::string_view text, const std::shared_ptr<const std::string>& file);

/// How a message names a token: "'foo'", "end of file".
std::string describe(const Token& token);

}  // namespace mambac
