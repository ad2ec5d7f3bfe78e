#include "passes/pipeline_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <vector>

#include "ir/error.h"

namespace mambac {
namespace {

constexpr std::string_view kHead = "# mambac after ", kPasses = "# passes: ";

/// Calls visit(name, option) for every option but the kind and the element type.
template <typename Options, typename Visit>
void each_option(Options& o, const Visit& visit) {
  visit("walk", o.walk);
  visit("loss", o.loss);
  visit("seeds", o.seeds);
  visit("wrt", o.wrt);
  visit("recompute", o.recompute);
  visit("narrow_parameters", o.narrow_parameters);
  visit("library_contractions", o.fuse.library_contractions);
  visit("fuse_projections", o.fuse.fuse_projections);
  visit("few_kernels", o.fuse.few_kernels);
  visit("stored_every", o.fuse.recompute);
}

std::string value_text(const std::string& value) { return value; }
std::string value_text(bool value) { return value ? "1" : "0"; }
std::string value_text(int value) { return fmt::format("{}", value); }
std::string value_text(const std::vector<std::string>& value) { return fmt::format("{}", fmt::join(value, ",")); }

bool set_value(std::string& value, const std::string& text) {
  value = text;
  return true;
}
bool set_value(int& value, const std::string& text) {
  const char* end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && last == end && value >= 0;
}
bool set_value(bool& value, const std::string& text) {
  int number = 0;
  const bool known = set_value(number, text) && number <= 1;
  value = number == 1;
  return known;
}
bool set_value(std::vector<std::string>& value, const std::string& text) {
  value = names_in(text);
  return true;
}

/// False where there is no option of this name.
bool set_option(PipelineOptions& options, const std::string& name, const std::string& text) {
  const auto expect = [&](bool good, const char* expected) {
    if (!good) throw InputError(fmt::format("the pipeline's option {}: found '{}', expected {}", name, text, expected));
  };
  if (name == "graph") {
    const auto kind = graph_kind_from(text);
    expect(kind.has_value(), "train, prefill, step or eval");
    options.kind = *kind;
    return true;
  }
  if (name == "dtype") {
    const auto dtype = dtype_from(text);
    expect(dtype && is_float(*dtype), "f32, bf16 or f16");
    options.storage = *dtype;
    return true;
  }
  bool found = false;
  each_option(options, [&](const std::string& known, auto& option) {
    if (known != name) return;
    found = true;
    expect(set_value(option, text), std::is_same_v<decltype(option), bool&> ? "0 or 1" : "a number, 0 or more");
  });
  return found;
}

std::vector<std::string> known_options() {
  std::vector<std::string> known{"graph", "dtype"};
  PipelineOptions options;
  each_option(options, [&](const std::string& name, auto&) { known.push_back(name); });
  return known;
}

}  // namespace

std::string options_text(const PipelineOptions& options) {
  std::string text = fmt::format("graph={} dtype={}", name_of(options.kind), name_of(options.storage));
  std::vector<std::string> plain;
  const PipelineOptions defaults;
  each_option(defaults, [&](const std::string&, const auto& value) { plain.push_back(value_text(value)); });
  size_t i = 0;
  each_option(options, [&](const std::string& name, const auto& value) {
    if (const std::string own = value_text(value); own != plain[i++]) text += fmt::format(" {}={}", name, own);
  });
  return text;
}

void set_options(PipelineOptions& options, const std::string& words) {
  std::stringstream all(words);
  for (std::string word; all >> word;) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos)
      throw InputError(fmt::format("the pipeline's options: found '{}', expected NAME=VALUE", word));
    if (!set_option(options, word.substr(0, equals), word.substr(equals + 1)))
      throw InputError(fmt::format("the pipeline has no option '{}'; it has: {}", word.substr(0, equals),
                                   fmt::join(known_options(), ", ")));
  }
}

std::string point_text(const PipelinePoint& point) {
  return fmt::format("{}{}: {}\n", kHead, point.stage, options_text(point.options));
}

std::optional<PipelinePoint> point_of(const std::string& text) {
  if (!text.starts_with(kHead)) return std::nullopt;
  const std::string line = text.substr(kHead.size(), text.find('\n') - kHead.size());
  const size_t colon = line.find(':');
  if (colon == std::string::npos)
    throw InputError(fmt::format("found '{}{}', expected '{}STAGE: graph=KIND dtype=TYPE ...'", kHead, line, kHead));
  PipelinePoint point{line.substr(0, colon), {}};
  set_options(point.options, line.substr(colon + 1));
  return point;
}

std::vector<std::string> names_in(const std::string& list) {
  std::vector<std::string> all;
  std::stringstream names(list);
  for (std::string name; std::getline(names, name, ',');) all.push_back(name);
  return all;
}

std::vector<std::string> passes_of(const std::string& text) {
  std::stringstream lines(text);
  for (std::string line; std::getline(lines, line) && line.starts_with('#');)
    if (line.starts_with(kPasses)) return names_in(line.substr(kPasses.size()));
  return {};
}

std::string passes_text(const std::vector<std::string>& passes) {
  return fmt::format("{}{}\n", kPasses, fmt::join(passes, ","));
}

}  // namespace mambac
