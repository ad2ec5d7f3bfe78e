#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/interrupt.h"
#include "runtime/progress.h"
#include "tools/arguments.h"
#include "tools/byte_model.h"
#include "tools/calibrate.h"
#include "tools/commands.h"
#include "tools/device_option.h"
#include "tools/trace_option.h"
#include "tools/tune_confirm.h"
#include "tools/tune_model.h"
#include "tools/tune_predict.h"
#include "tools/tune_survey.h"
#include "tools/tune_times.h"
#include "tools/tuned_fusion.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription =
    R"(Finds the fastest schedule of each kernel of a model on a device, and keeps it for all commands and processes.

  mambac tune mamba-lm:130m --set B=1 L=2048
  mambac tune mambabyte:353m --device cuda --graph train --dtype bf16 --set B=8 L=8192 --budget 5m
  mambac tune mambabyte:353m --kernels scan --again
  mambac tune mambabyte:353m --graph train --dtype bf16 --set B=8 L=8192 --predict --device-file h200
  mambac tune mamba-lm:130m --survey
  mambac tune --calibrate --out here.json
  mambac tune list

Each kernel runs by itself on memory of its own: at first under the schedule that the device would choose, then under
those of the whole space that the cost model finds best, then under neighbours of the best. Small projections (of dt)
can be computed in their walks or by the library before them: kernels of both are tuned, and the faster way is taken.
Results are held against the reference before anything is timed; times are taken by turns until they can be told
apart. At the end the best few of each kernel are measured within the model's programs, and what is fastest there stays.
Records are kept after each kernel: after an interruption or the end of the budget, the same command goes on where it
was. They are in $MAMBAC_TUNED, or else $XDG_DATA_HOME/mambac/tuned, or else ~/.local/share/mambac/tuned, one
file for each kind of device, which may be sent to others. docs/tuning.md has more.)";

struct Arguments {
  ModelArguments model;
  std::string device, graph = "all", dtype, budget = "10m", kernels;
  std::string device_file, out;
  bool again = false, predict = false, survey = false, calibrate = false, json = false;
  int recompute = 0;
  TraceArguments trace;
};

/// "90s", "10m", "2h", or seconds.
double seconds_in(const std::string& text) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, number);
  const std::string unit(last, end);
  const double scale = unit.empty() || unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  if (error != std::errc() || scale == 0 || !(number > 0))
    throw InputError(fmt::format("--budget: found '{}', expected a time such as 90s, 10m or 2h", text));
  return number * scale;
}

std::vector<GraphKind> graphs_named(const std::string& text) {
  if (text == "all") return {GraphKind::train, GraphKind::prefill, GraphKind::step};
  if (const auto kind = graph_kind_from(text)) return {*kind};
  throw InputError(fmt::format("--graph: found '{}', expected all, train, prefill, step or eval", text));
}

struct Sums {
  double heuristic = 0, tuned = 0;  // seconds of all launches
  size_t records = 0, left = 0, wrong = 0;
};

Sums sums_of(const std::vector<TunedKernel>& kernels) {
  Sums sums;
  for (const TunedKernel& one : kernels) {
    const int n = one.kernel.launches;
    sums.heuristic += n * (one.record ? one.record->heuristic_seconds : one.kernel.seconds);
    sums.tuned += n * (one.record ? one.record->seconds : one.kernel.seconds);
    sums.records += one.left() || one.had_record ? 0 : 1;
    sums.left += one.left() && !one.given_up ? 1 : 0;
    sums.wrong += one.wrong;
  }
  return sums;
}

const char* state_of(const TunedKernel& one) {
  if (one.had_record) return "had a record";
  if (!one.record) return "left";
  return one.left() ? "unfinished" : "tuned";
}

Json kernel_json(const TunedKernel& one) {
  Json json = {{"name", one.kernel.task.name},
               {"kernel", one.kernel.task.kernel},
               {"sizes", one.kernel.task.sizes},
               {"launches", one.kernel.launches},
               {"launches_other", one.kernel.launches_other},
               {"tried", one.tried},
               {"rejected", one.wrong},
               {"state", state_of(one)}};
  if (!one.record) return json;
  json["heuristic_s"] = one.record->heuristic_seconds;
  json["tuned_s"] = one.record->seconds;
  json["ratio"] = one.record->heuristic_seconds / one.record->seconds;
  json["in_program"] = one.record->in_program;
  return json;
}

/// Where the records have a program's small projections computed.
struct ProjectionPlace {
  GraphKind graph{};
  bool in_walks = false;
  double seconds = 0, other_seconds = 0;  // of all kernels; with the other place
};

void print_place(const ProjectionPlace& place) {
  constexpr const char* kPlaces[] = {"before their walks", "in their walks"};
  fmt::print("{}: small projections are computed {}: {} ms, {}: {} ms\n", name_of(place.graph),
             kPlaces[place.in_walks ? 1 : 0], milliseconds(place.seconds), kPlaces[place.in_walks ? 0 : 1],
             milliseconds(place.other_seconds));
}

Json place_json(const ProjectionPlace& place) {
  return {{"graph", name_of(place.graph)},
          {"projections_in_walks", place.in_walks},
          {"seconds", place.seconds},
          {"other_seconds", place.other_seconds}};
}

void print_confirmed(const ConfirmedProgram& program) {
  fmt::print("{}: within the program {} ms -> {} ms, {:.2f}x\n", name_of(program.graph),
             milliseconds(program.own_seconds), milliseconds(program.seconds), program.own_seconds / program.seconds);
}

Json confirmed_json(const ConfirmedProgram& program) {
  return {{"graph", name_of(program.graph)}, {"heuristic_s", program.own_seconds}, {"tuned_s", program.seconds}};
}

void report(const std::vector<TunedKernel>& kernels, const std::vector<ConfirmedProgram>& confirmed,
            const std::vector<ProjectionPlace>& places, const std::filesystem::path& file, bool json) {
  const Sums sums = sums_of(kernels);
  if (json) {
    Json list = Json::array(), programs = Json::array(), fusions = Json::array();
    for (const TunedKernel& one : kernels) list.push_back(kernel_json(one));
    for (const ConfirmedProgram& program : confirmed) programs.push_back(confirmed_json(program));
    for (const ProjectionPlace& place : places) fusions.push_back(place_json(place));
    return print_json({{"file", file.string()},
                       {"kernels", list},
                       {"programs", programs},
                       {"fusions", fusions},
                       {"heuristic_s", sums.heuristic},
                       {"tuned_s", sums.tuned}});
  }
  fmt::print("{} of {} kernels tuned{}\n", sums.records, kernels.size(),
             sums.left > 0 ? fmt::format(", {} left for want of time (the same command goes on)", sums.left) : "");
  if (sums.tuned > 0)
    fmt::print("one run of all launches, each kernel alone: {} ms -> {} ms, {:.2f}x\n", milliseconds(sums.heuristic),
               milliseconds(sums.tuned), sums.heuristic / sums.tuned);
  for (const ConfirmedProgram& program : confirmed) print_confirmed(program);
  for (const ProjectionPlace& place : places) print_place(place);
  if (sums.wrong > 0) fmt::print("{} schedules gave wrong results and were rejected\n", sums.wrong);
  fmt::print("records: {}\n", file.string());
}

TuneModelOptions options_of(const Arguments& arguments, const Selection& selection) {
  TuneModelOptions options;
  options.graphs = graphs_named(arguments.graph);
  options.storage = arguments.dtype.empty() ? trained_options(selection.model).storage : storage_named(arguments.dtype);
  options.sizes = selection.sizes;
  options.sizes.emplace("B", 1);
  options.sizes.emplace("L", 2048);
  options.recompute = arguments.recompute;
  options.kernels = arguments.kernels;
  options.both_fusions = !arguments.predict && !arguments.survey;
  return options;
}

/// Of the programs for which all kernels with both places have records.
std::vector<ProjectionPlace> places_by_records(const Arguments& arguments, Device& device) {
  const Selection selection = select_model(arguments.model.spec, arguments.model.settings);
  const TuneModelOptions options = options_of(arguments, selection);
  const std::unique_ptr<TunedSchedules> tuned = tuned_schedules("auto", device.model());
  std::vector<ProjectionPlace> places;
  for (const GraphKind kind : options.graphs) {
    const SourceProgram program = program_to_tune(selection.model, kind, options, tune_target(device));
    const TunedPipeline made =
        tuned_pipeline(program.source, program.options, options.sizes, device.kind(), tuned.get());
    if (made.time && made.other_time)
      places.push_back({kind, made.options.fuse.fuse_projections, made.time->seconds, made.other_time->seconds});
  }
  return places;
}

std::vector<KernelToTune> chosen_kernels(const Arguments& arguments, const TuneTarget& target) {
  const Selection selection = select_model(arguments.model.spec, arguments.model.settings);
  std::vector<KernelToTune> kernels = kernels_to_tune(selection.model, options_of(arguments, selection), target);
  if (kernels.empty())
    throw InputError(fmt::format("--kernels: no kernel has '{}' in its name; 'mambac explain {}' lists them",
                                 arguments.kernels, arguments.model.spec));
  const auto has_schedules = [&](const KernelToTune& kernel) {
    return arguments.predict ? kernel.kind != KernelGroup::library : keeps_records(kernel.alone, 0);
  };
  if (std::ranges::none_of(kernels, has_schedules))
    throw InputError(
        fmt::format("--kernels: found only '{}' and such with '{}' in their names, expected a kernel whose "
                    "schedules {}",
                    kernels.front().task.name, arguments.kernels,
                    arguments.predict ? "can be predicted, not a library's" : "can be chosen, not a look-up's"));
  return kernels;
}

Json ranked_json(const RankedSchedule& ranked) {
  const Prediction& p = ranked.prediction;
  return {{"schedule", ranked.schedule.str()},
          {"seconds", p.seconds},
          {"bound", p.bound},
          {"bytes", p.bytes},
          {"slots", whole(p.slots)},
          {"use", p.use},
          {"exponentials", whole(p.exponentials)}};
}

void print_predicted(const PredictedKernel& one) {
  fmt::print("{}  x{}\n", one.kernel.task.name, one.kernel.launches);
  const auto line = [&](const RankedSchedule& ranked, const std::string& what) {
    fmt::print("  {:>10.4f} ms  {:<13}{:>4.0f}%  {}\n", 1e3 * ranked.prediction.seconds, ranked.prediction.bound,
               100 * ranked.prediction.use, what);
  };
  line(one.heuristic, "the heuristic");
  for (const RankedSchedule& ranked : one.best)
    if (ranked.schedule != one.heuristic.schedule) line(ranked, ranked.schedule.changes_from(one.heuristic.schedule));
}

void run_predict(const Arguments& arguments) {
  constexpr size_t kMost = 5;
  const std::unique_ptr<CostModel> model = cost_model(arguments.device_file);
  const double begun = now();
  Progress progress = Progress::on_stderr();
  const std::vector<PredictedKernel> predicted =
      predict_schedules(chosen_kernels(arguments, tune_target(*model)), *model, kMost, [&](size_t done, size_t all) {
        progress.update(CountReport{static_cast<int64_t>(done), static_cast<int64_t>(all), "kernels", now() - begun});
      });
  progress.finish();
  if (!arguments.json) {
    for (const PredictedKernel& one : predicted) print_predicted(one);
    return;
  }
  Json list = Json::array();
  for (const PredictedKernel& one : predicted) {
    Json json = {{"name", one.kernel.task.name}, {"launches", one.kernel.launches}, {"sizes", one.kernel.task.sizes}};
    json["heuristic"] = ranked_json(one.heuristic);
    for (const RankedSchedule& ranked : one.best) json["best"].push_back(ranked_json(ranked));
    list.push_back(std::move(json));
  }
  print_json({{"device", arguments.device_file}, {"kernels", list}});
}

void run_calibrate(const Arguments& arguments) {
  const ChosenDevice device(arguments.device, "off");
  const std::string text = calibrated(*device);
  if (arguments.out.empty()) return static_cast<void>(std::fputs(text.c_str(), stdout));
  write_file(arguments.out, text);
  talk(fmt::format("{} is described in {}; --device-file takes it", device->model().name, arguments.out));
}

/// Of the time to spend; the rest is for measurements within programs.
constexpr double kOfSearch = 0.7;

std::vector<ConfirmedProgram> confirm(const Arguments& arguments, std::vector<TunedKernel>& tuned, Device& device,
                                      const TuningFolder& records, const TuneOptions& options) {
  const Selection selection = select_model(arguments.model.spec, arguments.model.settings);
  return confirm_in_programs(tuned, selection.model, options_of(arguments, selection), device, records, options);
}

/// Null where there is no description.
std::unique_ptr<CostModel> model_for(const Arguments& arguments, Device& device) {
  std::unique_ptr<CostModel> model =
      arguments.device_file.empty() ? cost_model_for(device, talk) : cost_model(arguments.device_file);
  if (!model && arguments.survey)
    throw InputError(
        fmt::format("--survey: no description of {} is shipped, expected one in --device-file", device.model().name));
  if (!model)
    talk(fmt::format(
        "no description of {} is shipped, so schedules are tried without predictions; --device-file takes one",
        device.model().name));
  if (model && model->kind() != device.kind()) {
    const auto name = [](DeviceKind kind) { return kind == DeviceKind::gpu ? "GPU" : "CPU"; };
    throw InputError(fmt::format("--device-file: '{}' describes a {}, expected a {} as {} is", arguments.device_file,
                                 name(model->kind()), name(device.kind()), device.model().name));
  }
  return model;
}

int interrupted() {
  return 128 + InterruptGuard::signal();
}

int run_tune(const Arguments& arguments) {
  if (arguments.calibrate) return run_calibrate(arguments), 0;
  if (arguments.model.spec.empty()) miss_argument("MODEL");
  if (arguments.predict) {
    run_predict(arguments);
    return 0;
  }
  const double budget = seconds_in(arguments.budget);
  const ChosenDevice device(arguments.device, "off");
  const std::filesystem::path folder = TuningFolder::default_folder();
  if (folder.empty())
    throw EnvironmentError("records have no place: neither $MAMBAC_TUNED nor $XDG_DATA_HOME nor $HOME names one");
  std::vector<KernelToTune> kernels = chosen_kernels(arguments, tune_target(*device));
  const TuningFolder records(folder);
  const InterruptGuard guard;
  Progress progress = Progress::on_stderr();
  TuneOptions options;
  options.stop = [] { return InterruptGuard::signal() != 0; };
  options.note = [&](const std::string& line) { progress.note(line); };
  FileLock alone = records.measuring_lock(device->model().name);
  if (!wait_for_others(alone, options)) return interrupted();
  const double begun = now();
  options.budget = budget * (arguments.survey ? 1 : kOfSearch);
  options.again = arguments.again || arguments.survey;
  options.survey = arguments.survey;
  options.progress = [&](const TuneProgress& at) {
    progress.update(
        CountReport{static_cast<int64_t>(at.done), static_cast<int64_t>(at.all),
                    fmt::format("kernels, {:.2f}x so far, at {},", at.heuristic_seconds / at.seconds, at.at),
                    now() - begun, budget});
  };
  const std::unique_ptr<CostModel> model = model_for(arguments, *device);
  std::vector<TunedKernel> tuned = tune_kernels(std::move(kernels), *device, model.get(), records, options);
  options.budget = budget - (now() - begun);
  std::vector<ConfirmedProgram> confirmed;
  if (!arguments.survey) confirmed = confirm(arguments, tuned, *device, records, options);
  progress.finish();
  if (arguments.survey)
    print_survey(tuned, arguments.json);
  else
    report(tuned, confirmed, places_by_records(arguments, *device), records.path_of(device->model().name),
           arguments.json);
  return InterruptGuard::signal() != 0 ? interrupted() : 0;
}

}  // namespace

void add_tune(Command app, int& exit_code) {
  const Command command = app.add_command("tune", kDescription);
  auto arguments = std::make_shared<Arguments>();
  const Option spec =
      command.add_option("MODEL", arguments->model.spec, "a definition, a shipped model, or a checkpoint");
  spec.type_name("");
  add_settings(command, arguments->model.settings);
  command.add_option("--graph", arguments->graph, "train, prefill, step, eval, or all of the first three")
      .show_default()
      .type_name("");
  command.add_option("--dtype", arguments->dtype, "f32 or bf16; default: as the model is trained").type_name("");
  command.add_option("--budget", arguments->budget, "the time to spend: 90s, 10m, 2h").show_default().type_name("TIME");
  command.add_option("--kernels", arguments->kernels, "those with this in their name only").type_name("");
  command.add_flag("--again", arguments->again, "kernels that have a record for these sizes, too");
  add_recompute(command, arguments->recompute);
  const Option file =
      command.add_option("--device-file", arguments->device_file,
                         "what the cost model is told of the device: a shipped description (h200) or the "
                         "path of one; default: that of the device, and a CPU without one is measured");
  file.type_name("");
  command.add_flag("--predict", arguments->predict, "only rank schedules for the device of --device-file");
  command.option("--predict").needs(file);
  command.add_flag("--calibrate", arguments->calibrate,
                   "without MODEL: measure what the cost model is told of the device, and write that");
  command.add_option("--out", arguments->out, "the file of --calibrate; default: standard output").type_name("FILE");
  command.option("--out").needs(command.option("--calibrate"));
  command.add_flag(
      "--survey", arguments->survey,
      "keep nothing: measure schedules that lie regularly in each kernel's space, and say how well they were "
      "predicted");
  command.option("--calibrate").excludes(spec);
  command.option("--survey").excludes(command.option("--predict"));
  add_device(command, arguments->device);
  add_trace(command, arguments->trace);
  add_json(command, arguments->json);
  add_tune_records(command);
  command.callback([command, arguments, &exit_code] {
    if (command.has_command()) return;
    traced(arguments->trace, "tune", [&] { exit_code = run_tune(*arguments); });
  });
}

}  // namespace mambac::tools
