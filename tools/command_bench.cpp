#include <fmt/format.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "frontend/suggest.h"
#include "ir/error.h"
#include "runtime/cpu_info.h"
#include "tools/arguments.h"
#include "tools/bench.h"
#include "tools/commands.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription = R"(Runs fixed pieces of work and holds each against what this machine allows at best.

  mambac bench
  mambac bench scan layer-forward --kernels
  mambac bench --list

The floor of a large contraction is the same shape and type run bare in the library with packed weights; of any other
kernel the largest of its exponentials in a loop that stays in registers, its multiply-adds at the machine's peak, and
its compulsory bytes at the read bandwidth of an array of that size; of a row the sum over its kernels. Decoding is
held against reading its weights once. Work and floors are measured by turns; all figures are medians.)";

struct Arguments {
  std::vector<std::string> names;
  bool list = false, kernels = false, json = false;
  int rounds = 5;
};

std::vector<const BenchRow*> chosen(const std::vector<std::string>& names) {
  std::vector<const BenchRow*> rows;
  std::vector<std::string> known;
  for (const BenchRow& row : bench_rows()) {
    known.push_back(row.name);
    if (names.empty()) rows.push_back(&row);
  }
  for (const std::string& name : names) {
    const auto found = std::find(known.begin(), known.end(), name);
    if (found == known.end())
      throw InputError(fmt::format("there is no row '{}'{}; there are: {}", name, did_you_mean(name, known),
                                   fmt::join(known, ", ")));
    rows.push_back(&bench_rows()[static_cast<size_t>(found - known.begin())]);
  }
  return rows;
}

double at_most(const BenchRow& row) { return cpu_info().amx_bf16 ? row.at_most_amx : row.at_most; }

Json row_json(const BenchRow& row, const RowResult& result, bool with_kernels) {
  Json json = {{"name", row.name},
               {"work", row.work},
               {"median_s", result.median_s},
               {"floor_s", result.floor_s},
               {"ratio", result.median_s / result.floor_s},
               {"at_most", at_most(row)},
               {"bound", result.bound}};
  if (!with_kernels) return json;
  for (const KernelResult& kernel : result.kernels)
    json["kernels"].push_back({{"name", kernel.name},
                               {"count", kernel.count},
                               {"median_s", kernel.median_s},
                               {"floor_s", kernel.floor_s},
                               {"ratio", kernel.median_s / kernel.floor_s},
                               {"bound", kernel.bound}});
  return json;
}

void print_row(const BenchRow& row, const RowResult& result, bool with_kernels) {
  fmt::print("{:<24}{:>11.3f} ms{:>11.3f} ms{:>8.2f}{:>8.2f}  {}\n", row.name, 1e3 * result.median_s,
             1e3 * result.floor_s, result.median_s / result.floor_s, at_most(row), result.bound);
  if (with_kernels) {
    for (const KernelResult& kernel : result.kernels)
      fmt::print("  {:>11.3f} ms{:>11.3f} ms{:>8.2f}  {:<14}{}{}\n", 1e3 * kernel.median_s, 1e3 * kernel.floor_s,
                 kernel.median_s / kernel.floor_s, kernel.bound,
                 kernel.count > 1 ? fmt::format("{} x ", kernel.count) : "", kernel.name);
  }
  std::fflush(stdout);
}

void print_list(bool json) {
  Json list = Json::array();
  for (const BenchRow& row : bench_rows()) {
    list.push_back({{"name", row.name}, {"work", row.work}, {"at_most", at_most(row)}});
    if (!json) fmt::print("{:<24}{}\n", row.name, row.work);
  }
  if (json) print_json(list);
}

void run_bench(const Arguments& arguments) {
  if (arguments.list) return print_list(arguments.json);
  const std::vector<const BenchRow*> rows = chosen(arguments.names);
  talk(fmt::format("{}, {} threads", cpu_info().model, omp_get_max_threads()));
  if (!arguments.json) fmt::print("{:<24}{:>14}{:>14}{:>8}{:>8}  bound\n", "", "median", "floor", "ratio", "at most");
  Json all = Json::array();
  for (const BenchRow* row : rows) {
    PreparedRow prepared = row->prepare();
    const RowResult result = measure(prepared, arguments.rounds);
    if (arguments.json) all.push_back(row_json(*row, result, arguments.kernels));
    else print_row(*row, result, arguments.kernels);
  }
  if (arguments.json) print_json(all);
}

}  // namespace

void add_bench(CLI::App& app) {
  CLI::App* command = app.add_subcommand("bench", kDescription);
  auto arguments = std::make_shared<Arguments>();
  command->add_option("NAME", arguments->names, "rows to run; default: all")->type_name("");
  command->add_flag("--list", arguments->list, "name the rows and do nothing");
  command->add_flag("--kernels", arguments->kernels, "every kernel of a row, too");
  command->add_option("--rounds", arguments->rounds, "how often work and floors are measured by turns")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  add_json(*command, arguments->json);
  command->callback([arguments] { run_bench(*arguments); });
}

}  // namespace mambac::tools
