// Any bytes at all: the language answers with a graph or with InputError, never with anything else.
// MAMBAC_FUZZ_SECONDS (default 5) sets how long to look, MAMBAC_FUZZ_SEED where to begin.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <random>

#include "frontend/model.h"
#include "frontend/shipped.h"
#include "ir/equal.h"
#include "ir/op.h"
#include "ir/print.h"
#include "ir/verify.h"

namespace mambac {
namespace {

double environment_number(const char* name, double fallback) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::atof(text) : fallback;
}

constexpr const char* kFusedDump = R"(free B, L, L/64
dim D = 3
dim N = 2
kernel k0_walk_scan = walk<L> lane<D> outer<B> inner<N>
kernel k1_rwalk_scan = walk<L, reverse> lane<D> outer<B> inner<N>
kernel k2_rows = rows lane<D> outer<B, L>
kernel k3_dot = library
block m(x: f32[B, L, D], a: f32[D, N]) {
  h: f32[B, L, D, N] = scan<L>(a, x)  in k0  @ "m.mb":3:7
  h.chunks: f32[B, L/64, D, N] = chunk_starts<L, L/64>(h)  in k0
  again: f32[B, L, D, N] = scan<L>(a, x, resume = h.chunks)  in k1
  g: f32[B, L, D, N] = scan<L, reverse>(a, again)  in k1
  y: f32[B, L, D] = sum<N>(g)  in k1
  z: f32[B, L, D] = exp(y)  in k2
  return z = z
}
)";

class Fuzzer {
 public:
  explicit Fuzzer(uint64_t seed) : random_(seed) {
    for (const EmbeddedFile& model : shipped_models()) {
      if (model.file != "prelude.mb") definitions_.emplace_back(model.text);
    }
    for (const char* name : {"mingru:tiny", "rg-lru:tiny", "s5-diagonal:tiny", "mambabyte:tiny"}) {
      dumps_.push_back(print(instantiate(load_model(name))));
    }
    dumps_.emplace_back(kFusedDump);
    words_ = {"free",   "dim",   "block",   "model",  "preset",   "import",  "param",
              "repeat", "in",    "as",      "return", "no_decay", "(",       ")",
              "[",      "]",     "{",       "}",      "<",        ">",       ",",
              ":",      "=",     "?",       "@",      "+",        "-",       "*",
              "/",      "->",    "0",       "1",      "2",        "1e308",   "9223372036854775807",
              "0.5",    "\"a\"", "\"{i}\"", "`x`",    "x",        "y",       "B",
              "L",      "E",     "N",       "L/32",   "layers",   "reverse", "last",
              "f32",    "bf16",  "k3",      "inf",    "nan",      "silu",    "layer_norm",
              "zeros",  "normal", "kernel",  "walk",   "rows",     "library", "lane",
              "outer",  "inner",  "k0"};
    for (const OpInfo& op : op_table()) words_.emplace_back(op.name);
  }

  std::string next_definition() {
    return random_() % 5 == 0 ? soup() : mutated(definitions_[pick(definitions_.size())]);
  }
  std::string next_dump() { return mutated(dumps_[pick(dumps_.size())]); }

 private:
  size_t pick(size_t count) { return count == 0 ? 0 : random_() % count; }

  std::string soup() {
    std::string text = random_() % 2 == 0 ? "free B, L model m<E = 2>(x: [B, L, E]) { y = " : "";
    for (size_t i = pick(60); i > 0; --i) text += words_[pick(words_.size())] + " ";
    return text;
  }

  std::string mutated(std::string text) {
    for (size_t i = 1 + pick(4); i > 0; --i) mutate(text);
    return text;
  }

  void mutate(std::string& text) {
    const size_t at = pick(text.size() + 1);
    const size_t length = std::min(pick(30), text.size() - at);
    switch (random_() % 7) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, text.substr(pick(text.size() + 1), length));
        break;
      case 2:
        if (at < text.size()) text[at] = static_cast<char>(random_());
        break;
      case 3:
        text.insert(at, " " + words_[pick(words_.size())] + " ");
        break;
      case 4:
        replace_word(text, at);
        break;
      case 5:
        swap_words(text, at);
        break;
      default:
        text.resize(at);
    }
  }

  /// The bounds of the word around `at`.
  static std::pair<size_t, size_t> word_at(const std::string& text, size_t at) {
    const auto part = [&](size_t i) {
      return std::isalnum(static_cast<unsigned char>(text[i])) != 0 || text[i] == '_';
    };
    while (at < text.size() && !part(at)) ++at;
    size_t from = at;
    while (from > 0 && from < text.size() && part(from - 1)) --from;
    while (at < text.size() && part(at)) ++at;
    return {from, at - from};
  }

  void replace_word(std::string& text, size_t at) {
    const auto [from, length] = word_at(text, at);
    text.replace(from, length, words_[pick(words_.size())]);
  }

  void swap_words(std::string& text, size_t at) {
    const auto [from, length] = word_at(text, at);
    const auto [other, other_length] = word_at(text, pick(text.size()));
    text.replace(from, length, text.substr(other, other_length));
  }

  std::mt19937_64 random_;
  std::vector<std::string> definitions_;
  std::vector<std::string> dumps_;
  std::vector<std::string> words_;
};

/// True when the text is a valid definition; InputError is the only failure allowed.
bool try_definition(const std::string& text) {
  try {
    Model model = model_from_text(text, "fuzz.mb");
    model.values.emplace("layers", 2);
    const Graph graph = instantiate(model);
    verify(graph);
    std::string why;
    EXPECT_TRUE(equal(graph, parse_graph(print(graph), "dump.mb"), &why)) << why << "\n" << text;
    training_graph(model);
    return true;
  } catch (const InputError&) {
    return false;
  }
}

bool try_dump(const std::string& text) {
  try {
    const Graph graph = parse_graph(text, "fuzz.mb");
    std::string why;
    EXPECT_TRUE(equal(graph, parse_graph(print(graph), "dump.mb"), &why)) << why << "\n" << text;
    return true;
  } catch (const InputError&) {
    return false;
  }
}

TEST(LanguageFuzz, OnlyInputErrorsComeOut) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(environment_number("MAMBAC_FUZZ_SECONDS", 5));
  Fuzzer fuzzer(static_cast<uint64_t>(environment_number("MAMBAC_FUZZ_SEED", 1)));
  int tried = 0, valid = 0;
  for (std::string text; Clock::now() < end && !HasFailure(); ++tried) {
    try {
      text = fuzzer.next_definition();
      valid += try_definition(text) ? 1 : 0;
      text = fuzzer.next_dump();
      valid += try_dump(text) ? 1 : 0;
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what() << "\nfor the text:\n" << text;
    }
  }
  EXPECT_GT(tried, 50);
  EXPECT_GT(valid, 0);
  std::printf("%d texts, %d of them valid\n", 2 * tried, valid);
}

}  // namespace
}  // namespace mambac
