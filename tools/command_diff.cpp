#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "ir/error.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/diff_sides.h"
#include "tools/text_diff.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription =
    R"(What changed between two models, stages or folders of compiled output: kernels by what they do, then the texts.

  mambac diff mine.mb mambabyte:tiny --graph step
  mambac diff dumps/02-differentiate.mb dumps/06-clean.mb
  mambac diff before after
  mambac diff before after --brief && echo the refactoring changed no kernel

A and B are folders that 'mambac dump --out' or 'mambac compile --out' wrote (of two revisions, say), dumped files, or
models. Of models the kernels are made as 'mambac dump' would, and the graph after --stage is compared. Kernels of equal
code are the same, whatever they and their comments are called; so are graphs but for the lines of the definition that
they come from (--places). Exit codes as diff(1) has them: 0 nothing changed, 1
something did, 2 or more: no answer.)";

struct Arguments {
  std::string before, after;
  DiffOptions options;
  bool brief = false, places = false, json = false;
};

struct TextChange {
  std::string what, change, diff;  // change: changed, appeared, vanished
};

struct Difference {
  KernelChanges kernels;
  bool has_kernels = false;
  std::vector<TextChange> texts;
  bool any() const { return kernels.any() || !texts.empty(); }
};

std::string full_name(const DiffSide& side, const std::string& what) {
  return what.empty() ? side.name : side.name + "/" + what;
}

/// A graph's text without where its values come from.
std::string without_places(const std::string& text) {
  static const std::regex place("  @ \"[^\"\n]*\":[0-9]+:[0-9]+");
  return std::regex_replace(text, place, "");
}

void compare_texts(const DiffSide& before, const DiffSide& after, bool places, Difference& found) {
  std::set<std::string> all;
  for (const DiffSide* side : {&before, &after})
    for (const auto& [what, text] : side->texts) all.insert(what);
  const auto text_in = [&](const DiffSide& side, const std::string& what) {
    const auto text = side.texts.find(what);
    if (text == side.texts.end()) return std::string();
    return places ? text->second : without_places(text->second);
  };
  for (const std::string& what : all) {
    const std::string diff =
        unified_diff(text_in(before, what), text_in(after, what), full_name(before, what), full_name(after, what));
    const bool in_a = before.texts.contains(what), in_b = after.texts.contains(what);
    if (in_a && in_b && diff.empty()) continue;
    found.texts.push_back({what, in_a && in_b ? "changed" : in_b ? "appeared" : "vanished", diff});
  }
}

void compare_all_kernels(const DiffSide& before, const DiffSide& after, Difference& found) {
  std::vector<KernelText> all[2];
  for (const auto& [side, kernels] : {std::pair{&before, &all[0]}, {&after, &all[1]}})
    for (const auto& [what, list] : side->kernels) kernels->insert(kernels->end(), list.begin(), list.end());
  found.has_kernels = !before.kernels.empty() || !after.kernels.empty();
  found.kernels = compare_kernels(all[0], all[1]);
}

std::string diff_of(const std::pair<KernelText, KernelText>& change, const Arguments& arguments) {
  return unified_diff(change.first.text, change.second.text, arguments.before + ": " + change.first.name,
                      arguments.after + ": " + change.second.name);
}

bool wants_colour() {
  const char* no_colour = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) != 0 && !(no_colour && *no_colour);
}

void print_diff(const std::string& diff) {
  if (!wants_colour()) return fmt::print("{}", diff);
  for (const std::string_view line : lines_of(diff)) {
    const char* colour = line.starts_with("@@")  ? "36"
                         : line.starts_with('-') ? "31"
                         : line.starts_with('+') ? "32"
                                                 : "0";
    fmt::print("\x1b[{}m{}\x1b[0m\n", colour, line);
  }
}

void print_text(const Difference& found, const Arguments& arguments) {
  const KernelChanges& kernels = found.kernels;
  fmt::print("{}", text_of(kernels));
  for (const TextChange& text : found.texts)
    fmt::print("{:<10}{}\n", text.change, text.what.empty() ? arguments.after : text.what);
  if (found.has_kernels)
    fmt::print("kernels: {} the same, {} changed, {} vanished, {} appeared\n", kernels.same, kernels.changed.size(),
               kernels.vanished.size(), kernels.appeared.size());
  if (arguments.brief) return;
  std::set<std::string> shown;  // layers share kernels
  for (const auto& change : kernels.changed)
    if (const std::string diff = diff_of(change, arguments); shown.insert(diff).second) print_diff("\n" + diff);
  for (const TextChange& text : found.texts) print_diff("\n" + text.diff);
}

Json list_json(const std::vector<KernelText>& kernels) {
  Json list = Json::array();
  for (const KernelText& kernel : kernels) list.push_back({{"name", kernel.name}, {"content", kernel.content}});
  return list;
}

void print_as_json(const Difference& found, const Arguments& arguments) {
  Json changed = Json::array(), texts = Json::array();
  const auto add_diff = [&](Json entry, const std::string& diff) {
    if (!arguments.brief) entry["diff"] = diff;
    return entry;
  };
  for (const auto& change : found.kernels.changed)
    changed.push_back(
        add_diff({{"name", change.first.name}, {"before", change.first.content}, {"after", change.second.content}},
                 diff_of(change, arguments)));
  for (const TextChange& text : found.texts)
    texts.push_back(add_diff({{"name", text.what}, {"change", text.change}}, text.diff));
  print_json({{"changed", found.any()},
              {"kernels",
               {{"same", found.kernels.same},
                {"changed", changed},
                {"vanished", list_json(found.kernels.vanished)},
                {"appeared", list_json(found.kernels.appeared)}}},
              {"texts", texts}});
}

/// Whether something changed.
bool run_diff(const Arguments& arguments) {
  const DiffSide before = diff_side(arguments.before, arguments.options);
  const DiffSide after = diff_side(arguments.after, arguments.options);
  Difference found;
  compare_all_kernels(before, after, found);
  compare_texts(before, after, arguments.places, found);
  if (arguments.json)
    print_as_json(found, arguments);
  else
    print_text(found, arguments);
  return found.any();
}

/// A script that asks whether something changed must not take a mistake for an answer.
bool run_diff_or_fail(const Arguments& arguments) {
  try {
    return run_diff(arguments);
  } catch (const InternalError&) {
    throw;
  } catch (const InputError& error) {
    throw Failure(error.what(), kExitUsage);
  }
}

}  // namespace

void add_diff(Command app, int& exit_code) {
  const Command command = app.add_command("diff", kDescription);
  auto arguments = std::make_shared<Arguments>();
  DiffOptions& options = arguments->options;
  command.add_option("A", arguments->before, "a folder, a dumped file or a model").required().type_name("");
  command.add_option("B", arguments->after, "what it became").required().type_name("");
  add_settings(command, options.settings);
  command.add_option("--graph", options.graph, "of models: train, prefill, step or eval").show_default().type_name("");
  command.add_option("--stage", options.stage, "of models: whose text is compared").show_default().type_name("");
  command.add_option("--device", options.device, "of models: cpu or cuda").show_default().type_name("");
  command.add_option("--dtype", options.dtype, "of models: f32 or bf16").show_default().type_name("");
  command.add_flag("--brief", arguments->brief, "only say what changed");
  command.add_flag("--places", arguments->places, "values that come from another line have changed, too");
  add_json(command, arguments->json);
  command.callback([arguments, &exit_code] { exit_code = run_diff_or_fail(*arguments) ? 1 : kExitGood; });
}

}  // namespace mambac::tools
