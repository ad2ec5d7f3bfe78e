#include "tools/reproducer.h"

#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "codegen/llvm_jit.h"
#include "ir/print.h"
#include "passes/pipeline_text.h"
#include "runtime/atomic_file.h"
#include "runtime/cpu_info.h"
#include "runtime/gemm.h"
#include "tools/arguments.h"
#include "tools/work_notes.h"

namespace mambac::tools {
namespace {

namespace fs = std::filesystem;

/// As a word of the shell.
std::string quoted(const std::string& argument) {
  const auto is_plain = [](unsigned char c) { return std::isalnum(c) != 0 || std::strchr("+,-./:=@_", c) != nullptr; };
  if (!argument.empty() && std::ranges::all_of(argument, is_plain)) return argument;
  std::string text = "'";
  for (const char c : argument) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

/// Runs mambac in a folder; `words` follow.
std::string script(const std::string& folder, const std::string& words) {
  return fmt::format("#!/bin/sh\n# MAMBAC may name another mambac.\ncd {} || exit 3\nexec \"${{MAMBAC:-{}}}\"{}\n",
                     folder, quoted(fs::read_symlink("/proc/self/exe").string()), words);
}

/// In its own folder; another graph may be given in the place of graph.mb.
std::string work_script(const Work& work) {
  std::string words;
  for (const std::string& word : work.pass.empty() ? work.command : std::vector<std::string>{"opt", "graph.mb"})
    words += " " + (word == "graph.mb" ? "\"${1:-graph.mb}\"" : quoted(word));
  return script("\"$(dirname \"$0\")\"", words);
}

std::string command_text(const std::vector<std::string>& arguments) {
  if (notes().work.under_way()) return work_script(notes().work);
  std::string words;
  for (size_t i = 1; i < arguments.size(); ++i)
    if (arguments[i] != "--save-repro") words += " " + quoted(arguments[i]);
  return script(quoted(fs::current_path().string()), words);
}

std::string graph_text() {
  const Work& work = notes().work;
  if (!work.under_way()) return notes().source;
  return point_text({work.after, work.options}) + (work.pass.empty() ? "" : passes_text({work.pass})) +
         print(*work.graph);
}

Json variables() {
  constexpr std::array<std::string_view, 6> kNames{"MAMBAC_", "OMP_", "ONEDNN_", "DNNL_", "CUDA_", "LD_LIBRARY_PATH="};
  Json found = Json::object();
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text = *entry;
    if (std::ranges::none_of(kNames, [&](std::string_view name) { return text.starts_with(name); })) continue;
    const size_t equals = text.find('=');
    found[std::string(text.substr(0, equals))] = text.substr(std::min(text.size(), equals + 1));
  }
  return found;
}

Json environment(const std::vector<std::string>& arguments) {
  const CpuInfo& cpu = cpu_info();
  return {{"version", MAMBAC_VERSION},
          {"arguments", arguments},
          {"folder", fs::current_path().string()},
          {"seeds", notes().seeds},
          {"processor", {{"model", cpu.model}, {"processors", cpu.processors}, {"features", cpu.features()}}},
          {"libraries", {{"compiler", compiler_library()}, {"products", gemm_library()}}},
          {"variables", variables()}};
}

void write_all(const fs::path& folder, const std::string& message, const std::vector<std::string>& arguments) {
  const auto write_if_any = [&](const char* name, const std::string& text) {
    if (!text.empty()) write_file(folder / name, text);
  };
  write_if_any("error.txt", message + "\n");
  write_if_any("command.sh", command_text(arguments));
  fs::permissions(folder / "command.sh", fs::perms::owner_exec, fs::perm_options::add);
  constexpr auto kReplace = nlohmann::json::error_handler_t::replace;
  write_if_any("environment.json", environment(arguments).dump(2, ' ', false, kReplace) + "\n");
  write_if_any("model.mb", notes().model);
  write_if_any("graph.mb", graph_text());
  const Graph* refused = notes().refused.get();
  if (refused && is_printable(*refused)) write_file(folder / "refused.mb", print(*refused));
}

}  // namespace

std::string write_reproducer(const std::string& message, const std::vector<std::string>& arguments) {
  try {
    std::string folder = (fs::temp_directory_path() / "mambac-bug-XXXXXX").string();
    if (!mkdtemp(folder.data())) return "";
    write_all(folder, message, arguments);
    return folder;
  } catch (const std::exception&) {
    return "";
  }
}

}  // namespace mambac::tools
