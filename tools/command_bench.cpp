#include <fmt/format.h>
#include <omp.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "frontend/suggest.h"
#include "ir/error.h"
#include "ir/trace.h"
#include "runtime/cpu_info.h"
#include "tools/arguments.h"
#include "tools/bench.h"
#include "tools/byte_model.h"
#include "tools/commands.h"
#include "tools/device_option.h"
#include "tools/schedule_option.h"
#include "tools/trace_option.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription =
    R"(Runs fixed pieces of work and holds each against what this machine allows at best.

  mambac bench
  mambac bench scan layer-forward --kernels
  mambac bench --list
  mambac bench --model mambabyte:353m --graph step --dtype bf16 --set B=8

The floor of a large contraction is the same shape and type run bare in the library with packed weights; of any other
kernel the largest of its exponentials in a loop that stays in registers, its multiply-adds at the machine's peak, and
its compulsory bytes at the read bandwidth of an array of that size; of a row the sum over its kernels. Decoding is
held against reading its weights once. Work and floors are measured by turns; all figures are medians. With another
--device than cpu there are rows of their own, and times only:

  mambac bench layer-353m --device cuda --kernels
  mambac bench layer-353m --device cuda --kernels --schedule 'mamba_fwd_softplus:pieces=2,width=64')";

struct Arguments {
  std::vector<std::string> names;
  bool list = false, kernels = false, no_floors = false, json = false;
  int rounds = 5;
  ModelArguments model;
  std::string graph = "train", dtype;
  std::string device, tuned;
  std::vector<std::string> schedule;
  TraceArguments trace;
};

/// Those with these names; without names all that are made for the device.
std::vector<const BenchRow*> chosen(const std::vector<std::string>& names, bool gpu) {
  std::vector<const BenchRow*> rows;
  std::vector<std::string> known;
  for (const BenchRow& row : bench_rows()) {
    known.push_back(row.name);
    if (names.empty() && (row.at_most == 0) == gpu) rows.push_back(&row);
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

/// That of --model.
std::optional<BenchRow> row_of_model(const Arguments& arguments) {
  if (arguments.model.spec.empty()) return {};
  Selection selection = select_model(arguments.model.spec, arguments.model.settings);
  const GraphKind kind = kind_named(arguments.graph);
  for (const char* free : kind == GraphKind::step ? std::vector{"B"} : std::vector{"B", "L"})
    selection.sizes.emplace(free, 1);
  const DType storage =
      arguments.dtype.empty() ? trained_options(selection.model).storage : storage_named(arguments.dtype);
  return model_row(arguments.model.spec, selection, kind, storage);
}

double at_most(const BenchRow& row) {
  return cpu_info().amx_bf16 ? row.at_most_amx : row.at_most;
}

/// Adds what is measured only where there is a floor.
void add_floor(Json& json, double median_s, const std::optional<double>& floor_s, const std::string& bound) {
  if (!floor_s) return;
  json["floor_s"] = *floor_s;
  json["ratio"] = median_s / *floor_s;
  json["bound"] = bound;
}

Json row_json(const BenchRow& row, const RowResult& result, bool with_kernels) {
  Json json = {{"name", row.name},
               {"work", row.work},
               {"median_s", result.median_s},
               {"tokens_per_second", result.tokens_per_second}};
  add_floor(json, result.median_s, result.floor_s, result.bound);
  if (result.floor_s && row.at_most > 0) json["at_most"] = at_most(row);
  if (!with_kernels) return json;
  for (const KernelResult& kernel : result.kernels) {
    Json entry = {{"name", kernel.name}, {"count", kernel.count}, {"median_s", kernel.median_s}};
    add_floor(entry, kernel.median_s, kernel.floor_s, kernel.bound);
    json["kernels"].push_back(std::move(entry));
  }
  return json;
}

/// Median, floor and their ratio in columns.
std::string times_text(double median_s, const std::optional<double>& floor_s) {
  return fmt::format("{:>11.3f} ms", 1e3 * median_s) +
         (floor_s ? fmt::format("{:>11.3f} ms{:>8.2f}", 1e3 * *floor_s, median_s / *floor_s) : "");
}

void print_row(const BenchRow& row, const RowResult& result, bool with_kernels) {
  const std::string limit =
      result.floor_s
          ? fmt::format("{:>8}  {}", row.at_most > 0 ? fmt::format("{:.2f}", at_most(row)) : "", result.bound)
          : fmt::format("{:>14} tokens/s", scaled(result.tokens_per_second));
  fmt::print("{:<24}{}{}\n", row.name, times_text(result.median_s, result.floor_s), limit);
  if (with_kernels) {
    for (const KernelResult& kernel : result.kernels)
      fmt::print("  {}  {:<14}{}{}\n", times_text(kernel.median_s, kernel.floor_s), kernel.bound,
                 kernel.count > 1 ? fmt::format("{} x ", kernel.count) : "", kernel.name);
  }
  std::fflush(stdout);
}

void print_list(bool json) {
  Json list = Json::array();
  for (const BenchRow& row : bench_rows()) {
    Json one = {{"name", row.name}, {"work", row.work}};
    if (row.at_most > 0) one["at_most"] = at_most(row);
    list.push_back(std::move(one));
    if (!json) fmt::print("{:<24}{}\n", row.name, row.work);
  }
  if (json) print_json(list);
}

PreparedRow prepare(const BenchRow& row, const BenchTarget& target) {
  const trace::Span span("step", "prepare " + row.name);
  return row.prepare(target);
}

void run_bench(const Arguments& arguments) {
  if (arguments.list) return print_list(arguments.json);
  const bool cpu = arguments.device == "cpu", floors = cpu && !arguments.no_floors;
  const std::optional<BenchRow> own = row_of_model(arguments);
  const std::vector<const BenchRow*> rows = own ? std::vector<const BenchRow*>{&*own} : chosen(arguments.names, !cpu);
  const ChosenDevice device(arguments.device, arguments.tuned);
  const ScheduleSettings settings(device->kind(), schedules_of(*device), arguments.schedule);
  const BenchTarget target{device.target(), settings};
  talk(fmt::format("{}, {} threads{}", cpu_info().model, omp_get_max_threads(), cpu ? "" : ", " + device->name()));
  if (!arguments.json)
    fmt::print("{:<24}{:>14}{}\n", "", "median",
               floors ? fmt::format("{:>14}{:>8}{:>8}  bound", "floor", "ratio", "at most") : "");
  Json all = Json::array();
  for (const BenchRow* row : rows) {
    PreparedRow prepared = prepare(*row, target);
    const RowResult result = measure(prepared, *device, arguments.rounds, floors);
    if (arguments.json)
      all.push_back(row_json(*row, result, arguments.kernels));
    else
      print_row(*row, result, arguments.kernels);
  }
  settings.check_used();
  if (arguments.json) print_json(all);
}

}  // namespace

void add_bench(Command app) {
  const Command command = app.add_command("bench", kDescription);
  auto arguments = std::make_shared<Arguments>();
  const Option names = command.add_option("NAME", arguments->names, "rows to run; default: all");
  names.type_name("");
  command.add_flag("--list", arguments->list, "name the rows and do nothing");
  command.add_flag("--kernels", arguments->kernels, "every kernel of a row, too");
  command.add_flag("--no-floors", arguments->no_floors, "only times");
  command.add_option("--rounds", arguments->rounds, "how often work and floors are measured by turns")
      .show_default()
      .positive();
  const Option model = command.add_option("--model", arguments->model.spec,
                                          "a definition, a shipped model, or a checkpoint in the place of rows");
  model.type_name("MODEL").excludes(names);
  add_settings(command, arguments->model.settings);
  command.add_option("--graph", arguments->graph, "of --model: train (loss and gradients), prefill, step or eval")
      .show_default()
      .type_name("");
  command.add_option("--dtype", arguments->dtype, "f32 or bf16; default: as the model is trained").type_name("");
  for (const char* name : {"--set", "--graph", "--dtype"}) command.option(name).needs(model);
  add_device(command, arguments->device);
  add_tuned(command, arguments->tuned);
  add_schedule(command, arguments->schedule);
  add_trace(command, arguments->trace);
  add_json(command, arguments->json);
  command.callback([arguments] { traced(arguments->trace, "bench", [&] { run_bench(*arguments); }); });
}

}  // namespace mambac::tools
