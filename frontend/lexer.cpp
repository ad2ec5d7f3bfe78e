#include "frontend/lexer.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace mambac {
namespace {

constexpr size_t kMaxBytes = size_t{64} << 20;

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// Length of the valid UTF-8 sequence at `at` (0 when broken).
size_t utf8_length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0; };
  const unsigned lead = byte(at);
  const size_t length = lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (length == 0 || (lead >= 0x80 && lead < 0xc2)) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
  }
  const unsigned second = byte(at + 1);
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f)) return 0;
  if ((lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) return 0;
  return length;
}

class Lexer {
 public:
  Lexer(std::string_view text, std::shared_ptr<const std::string> file) : text_(text), file_(std::move(file)) {}

  std::vector<Token> run() {
    if (text_.size() > kMaxBytes) fail("the text is larger than 64 MiB");
    for (skip_space(); at_ < text_.size(); skip_space()) {
      tokens_.push_back(next());
      tokens_.back().end_offset = at_;
    }
    tokens_.push_back(start(Token::end));
    return std::move(tokens_);
  }

 private:
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  Location here() const { return {file_, line_, column_}; }
  [[noreturn]] void fail(const std::string& message) const { throw InputError(here(), message); }

  Token start(Token::Kind kind) const {
    Token token;
    token.kind = kind;
    token.location = here();
    token.offset = token.end_offset = at_;
    return token;
  }

  /// Moves over one character; a column counts characters, not bytes.
  void advance() {
    const size_t length = utf8_length(text_, at_);
    if (text_[at_] == '\0') fail("found a NUL byte, expected text");
    if (length == 0) {
      fail(fmt::format("found byte 0x{:02x}, which is not UTF-8 text", static_cast<unsigned char>(text_[at_])));
    }
    if (text_[at_] == '\n') {
      ++line_;
      column_ = 1;
    } else {
      ++column_;
    }
    at_ += length;
  }

  void skip_space() {
    while (at_ < text_.size()) {
      const char c = peek();
      if (c == '#') {
        while (at_ < text_.size() && peek() != '\n') advance();
      } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        advance();
      } else {
        return;
      }
    }
  }

  Token next() {
    const char c = peek();
    if (follows_preset() && (is_letter(c) || is_digit(c))) return preset_word();
    if (is_letter(c)) return identifier();
    if (is_digit(c) || (c == '.' && is_digit(peek(1)))) return number();
    if (c == '"') return string();
    if (c == '`') return quoted_name();
    return symbol();
  }

  /// The name of a preset may begin with a digit and contain '-'.
  bool follows_preset() const {
    if (tokens_.empty() || !tokens_.back().is_word("preset")) return false;
    return tokens_.size() == 1 || tokens_[tokens_.size() - 2].is("}") || tokens_[tokens_.size() - 2].is(")") ||
           tokens_[tokens_.size() - 2].kind != Token::symbol;
  }

  Token preset_word() {
    Token token = start(Token::word);
    while (is_letter(peek()) || is_digit(peek()) || peek() == '.' || peek() == '-') advance();
    token.text = text_.substr(token.offset, at_ - token.offset);
    return token;
  }

  Token identifier() {
    Token token = start(Token::name);
    while (is_letter(peek()) || is_digit(peek()) || peek() == '.') advance();
    token.text = text_.substr(token.offset, at_ - token.offset);
    return token;
  }

  Token quoted_name() {
    Token token = start(Token::name);
    token.quoted = true;
    advance();
    while (at_ < text_.size() && peek() != '`' && peek() != '\n') advance();
    if (peek() != '`') throw InputError(token.location, "found an open `name`, expected a closing backtick");
    token.text = text_.substr(token.offset + 1, at_ - token.offset - 1);
    advance();
    if (token.text.empty()) throw InputError(token.location, "found an empty name in backticks");
    return token;
  }

  Token number() {
    Token token = start(Token::number);
    token.integer = true;
    while (is_digit(peek())) advance();
    if (peek() == '.') {
      token.integer = false;
      advance();
      while (is_digit(peek())) advance();
    }
    if (peek() == 'e' || peek() == 'E') {
      token.integer = false;
      advance();
      if (peek() == '+' || peek() == '-') advance();
      if (!is_digit(peek())) fail("found a number without digits in its exponent");
      while (is_digit(peek())) advance();
    }
    if (is_letter(peek())) {
      fail(fmt::format("found '{}' right after a number, expected an operator or a space", peek()));
    }
    token.text = text_.substr(token.offset, at_ - token.offset);
    const auto [end, error] = std::from_chars(token.text.data(), token.text.data() + token.text.size(), token.value);
    if (error != std::errc{} || end != token.text.data() + token.text.size() || !std::isfinite(token.value)) {
      throw InputError(token.location, fmt::format("'{}' is not a number that fits a double", token.text));
    }
    return token;
  }

  int hex_digit() {
    const char c = peek();
    int value = -1;
    if (is_digit(c)) value = c - '0';
    if (c >= 'a' && c <= 'f') value = c - 'a' + 10;
    if (c >= 'A' && c <= 'F') value = c - 'A' + 10;
    if (value < 0) fail("found an incomplete \\x escape, expected two hexadecimal digits");
    advance();
    return value;
  }

  char escape() {
    advance();
    const char c = peek();
    const std::string_view known = "\"\\ntrx";
    if (c == '\0' || known.find(c) == std::string_view::npos) {
      fail("found an unknown escape in a string, expected one of \\\" \\\\ \\n \\t \\r \\xNN");
    }
    advance();
    if (c == 'x') {
      const int high = hex_digit();
      return static_cast<char>(high * 16 + hex_digit());
    }
    return c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
  }

  Token string() {
    Token token = start(Token::string);
    advance();
    while (at_ < text_.size() && peek() != '"' && peek() != '\n') {
      if (peek() == '\\') {
        token.text += escape();
      } else {
        const size_t from = at_;
        advance();
        token.text += text_.substr(from, at_ - from);
      }
    }
    if (peek() != '"') throw InputError(token.location, "found an open string, expected a closing '\"' on its line");
    advance();
    return token;
  }

  Token symbol() {
    Token token = start(Token::symbol);
    const char c = peek();
    if (std::string_view("()[]{}<>,:=?@+-*/").find(c) == std::string_view::npos || c == '\0') {
      const size_t from = at_;
      const Location where = here();
      advance();
      throw InputError(where,
                       fmt::format("found '{}', which has no meaning in the language", text_.substr(from, at_ - from)));
    }
    advance();
    token.text = std::string(1, c);
    if (c == '-' && peek() == '>') {
      advance();
      token.text = "->";
    }
    return token;
  }

  std::string_view text_;
  std::shared_ptr<const std::string> file_;
  size_t at_ = 0;
  int line_ = 1;
  int column_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view text, const std::shared_ptr<const std::string>& file) {
  return Lexer(text, file).run();
}

std::string describe(const Token& token) {
  if (token.kind == Token::end) return "the end of the text";
  if (token.kind == Token::string) return "a string";
  return fmt::format("'{}'", token.text.substr(0, 60));
}

}  // namespace mambac
