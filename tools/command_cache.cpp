#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "runtime/cuda/kernel_cache.h"
#include "runtime/progress.h"
#include "tools/arguments.h"
#include "tools/commands.h"

namespace mambac::tools {
namespace {

using cuda::KernelCache;
using cuda::KernelEntry;
using cuda::KernelKey;
using cuda::KernelUse;

constexpr const char* kDescription = R"(The machine code of CUDA kernels that is kept on this machine.

  mambac cache list
  mambac cache explain 3f2a
  mambac cache explain 3f2a --source > kernel.cu
  mambac cache verify
  mambac cache clear

Kernels are compiled once, and found again by their source, the compiler's options and version, and the architecture.
They are in $MAMBAC_CACHE, or else $XDG_CACHE_HOME/mambac, or else ~/.cache/mambac. Losing any of them costs the time to
compile it again and nothing else.)";

std::string size_text(uint64_t bytes) {
  return byte_text(static_cast<double>(bytes));
}

std::string idle_text(double seconds) {
  if (seconds < 3600) return "now";
  const double hours = seconds / 3600;
  return hours < 48 ? fmt::format("{:.0f} h ago", hours) : fmt::format("{:.0f} d ago", hours / 24);
}

std::string names_of(const std::vector<KernelUse>& uses) {
  std::string names;
  for (const KernelUse& use : uses) names += (names.empty() ? "" : " ") + use.name;
  return names;
}

Json uses_json(const std::vector<KernelUse>& uses) {
  Json list = Json::array();
  for (const KernelUse& use : uses)
    list.push_back({{"name", use.name},
                    {"registers", use.registers},
                    {"spill_store_bytes", use.spill_stores},
                    {"spill_load_bytes", use.spill_loads},
                    {"stack_bytes", use.stack},
                    {"shared_bytes", use.shared},
                    {"constant_bytes", use.constant}});
  return list;
}

struct Listed {
  KernelCache::File file;
  KernelEntry entry;
  std::string problem;  // empty: good
};

std::vector<Listed> read_all(const KernelCache& cache) {
  std::vector<Listed> all;
  for (KernelCache::File& file : cache.files()) {
    Listed listed{std::move(file), {}, ""};
    try {
      listed.problem = KernelCache::read(listed.file, listed.entry);
    } catch (const InputError& failure) {
      listed.problem = failure.what();
    }
    all.push_back(std::move(listed));
  }
  return all;
}

Json listed_json(const Listed& listed) {
  return {{"key", listed.file.digest},
          {"bytes", listed.file.bytes},
          {"idle_seconds", listed.file.idle_seconds},
          {"problem", listed.problem},
          {"program", listed.entry.key.program},
          {"architecture", listed.entry.key.architecture},
          {"nvrtc", listed.entry.key.nvrtc},
          {"kernels", uses_json(listed.entry.kernels)}};
}

void list(const KernelCache& cache, bool json) {
  const std::vector<Listed> all = read_all(cache);
  uint64_t bytes = 0;
  for (const Listed& listed : all) bytes += listed.file.bytes;
  if (json) {
    Json entries = Json::array();
    for (const Listed& listed : all) entries.push_back(listed_json(listed));
    return print_json({{"folder", cache.folder().string()}, {"bytes", bytes}, {"entries", entries}});
  }
  for (const Listed& listed : all) {
    const KernelKey& key = listed.entry.key;
    fmt::print("{}  {:>8}  {:>9}  {:<8} {:<6}  {}\n", listed.file.digest.substr(0, 12), size_text(listed.file.bytes),
               idle_text(listed.file.idle_seconds), key.architecture, key.nvrtc,
               listed.problem.empty() ? names_of(listed.entry.kernels) : "damaged: " + listed.problem);
  }
  fmt::print("{} entries, {} in {}\n", all.size(), size_text(bytes), cache.folder().string());
}

/// The one entry whose key begins so.
const Listed& chosen(const std::vector<Listed>& all, const std::string& prefix) {
  std::vector<const Listed*> fitting;
  for (const Listed& listed : all)
    if (listed.file.digest.starts_with(prefix)) fitting.push_back(&listed);
  if (fitting.size() == 1) return *fitting[0];
  std::string keys;
  for (const Listed* listed : fitting)
    keys += " " + listed->file.digest.substr(0, std::max<size_t>(12, prefix.size() + 4));
  throw InputError(fitting.empty()
                       ? fmt::format("found '{}', expected the beginning of a key; 'mambac cache list' shows "
                                     "them",
                                     prefix)
                       : fmt::format("found '{}', expected more of a key; it begins{}", prefix, keys));
}

/// The parts in which two keys of one program are not the same.
std::string difference(const KernelKey& a, const KernelKey& b) {
  std::string parts;
  const auto compare = [&](const char* part, const std::string& one, const std::string& other) {
    if (one != other) parts += std::string(parts.empty() ? "" : ", ") + part;
  };
  compare("architecture", a.architecture, b.architecture);
  compare("compiler", a.nvrtc, b.nvrtc);
  // The architecture is among the options, too.
  const auto others = [](const KernelKey& key) {
    return key.options.substr(std::min(key.options.find(' '), key.options.size()));
  };
  compare("options", others(a), others(b));
  compare("source", a.source, b.source);
  return parts;
}

void print_explanation(const std::vector<Listed>& all, const Listed& listed) {
  const KernelKey& key = listed.entry.key;
  fmt::print("key           {}\n", listed.file.digest);
  fmt::print("program       {}\n", key.program);
  fmt::print("architecture  {}\n", key.architecture);
  fmt::print("compiler      NVRTC {}\n", key.nvrtc);
  fmt::print("options       {}\n", key.options);
  fmt::print("source        {}, {} lines; --source prints them\n", size_text(key.source.size()),
             std::count(key.source.begin(), key.source.end(), '\n'));
  fmt::print("machine code  {}, used {}\n", size_text(listed.entry.cubin.size()), idle_text(listed.file.idle_seconds));
  for (const KernelUse& use : listed.entry.kernels)
    fmt::print("kernel        {}: {} registers, {} B spilled, {} B local memory, {} B shared memory\n", use.name,
               use.registers, use.spill_stores, use.stack, use.shared);
  for (const Listed& other : all)
    if (&other != &listed && other.problem.empty() && other.entry.key.program == key.program)
      fmt::print("not as        {}: another {}\n", other.file.digest.substr(0, 12), difference(key, other.entry.key));
}

void explain(const KernelCache& cache, const std::string& prefix, bool source, bool json) {
  const std::vector<Listed> all = read_all(cache);
  const Listed& listed = chosen(all, prefix);
  if (!listed.problem.empty())
    throw InputError(
        fmt::format("'{}' {}; 'mambac cache verify' removes it", listed.file.path.string(), listed.problem));
  if (source) return fmt::print("{}", listed.entry.key.source);
  if (!json) return print_explanation(all, listed);
  Json report = listed_json(listed);
  report["options"] = listed.entry.key.options;
  report["source"] = listed.entry.key.source;
  report["cubin_bytes"] = listed.entry.cubin.size();
  print_json(report);
}

void verify(const KernelCache& cache, bool json) {
  size_t good = 0;
  Json damaged = Json::array();
  for (const Listed& listed : read_all(cache)) {
    const bool named = listed.problem.empty() && listed.entry.key.digest() != listed.file.digest;
    const std::string problem = named ? "has the name of another key" : listed.problem;
    if (problem.empty()) {
      ++good;
      continue;
    }
    const bool removed = KernelCache::remove(listed.file);
    damaged.push_back({{"key", listed.file.digest}, {"problem", problem}, {"removed", removed}});
    if (!json) fmt::print("{} {}; {}\n", listed.file.digest, problem, removed ? "removed" : "it cannot be removed");
  }
  if (json) return print_json({{"good", good}, {"damaged", damaged}});
  fmt::print("{} entries are good, {} were damaged\n", good, damaged.size());
}

void clear(const KernelCache& cache, bool json) {
  uint64_t bytes = 0;
  size_t removed = 0;
  for (const KernelCache::File& file : cache.files()) {
    if (!KernelCache::remove(file)) throw EnvironmentError(fmt::format("'{}' cannot be removed", file.path.string()));
    bytes += file.bytes;
    ++removed;
  }
  cache.sweep();
  if (json) return print_json({{"removed", removed}, {"bytes", bytes}});
  fmt::print("{} entries removed, {}\n", removed, size_text(bytes));
}

KernelCache the_cache() {
  const auto folder = KernelCache::default_folder();
  if (folder.empty()) throw EnvironmentError("no kernels are kept: neither $MAMBAC_CACHE nor $HOME names a place");
  for (std::filesystem::path place = folder; !place.empty() && place != place.root_path(); place = place.parent_path())
    if (std::error_code error; std::filesystem::exists(place, error) && !std::filesystem::is_directory(place, error))
      throw EnvironmentError(fmt::format("no kernels are kept in '{}': '{}' is no folder", folder.string(),
                                         place.string()));
  return KernelCache(folder);
}

/// Declares a subcommand that reports about the whole cache.
void add_action(Command cache, const char* name, const char* description, void (*action)(const KernelCache&, bool)) {
  const Command command = cache.add_command(name, description);
  auto json = std::make_shared<bool>(false);
  add_json(command, *json);
  command.callback([action, json] { action(the_cache(), *json); });
}

void add_explain_entry(Command cache) {
  const Command command =
      cache.add_command("explain", "what one entry was made from, and how others of its program differ");
  struct Options {
    std::string key;
    bool source = false, json = false;
  };
  auto options = std::make_shared<Options>();
  command.add_option("KEY", options->key, "the beginning of a key").required().type_name("");
  command.add_flag("--source", options->source, "print the CUDA C++ that was compiled");
  add_json(command, options->json);
  command.callback([options] { explain(the_cache(), options->key, options->source, options->json); });
}

}  // namespace

void add_cache(Command app) {
  const Command command = app.add_command("cache", kDescription);
  command.require_command();
  add_action(command, "list", "all entries, those used latest first", list);
  add_explain_entry(command);
  add_action(command, "verify", "reads all entries; removes and reports damaged ones", verify);
  add_action(command, "clear", "removes all entries", clear);
}

}  // namespace mambac::tools
