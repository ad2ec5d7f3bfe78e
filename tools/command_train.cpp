#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "passes/segments.h"
#include "runtime/train.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/device_option.h"
#include "tools/not_finite.h"
#include "tools/trace_option.h"
#include "tools/training_graphs.h"
#include "tools/work_notes.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription = R"(Trains a model of bytes and writes checkpoints, curve.svg and curve.csv.

  mambac train mambabyte:small --data train.txt --valid valid.txt --out run --minutes 20
  mambac train my.mb:tiny --data texts/ --out run --steps 2000 --batch 16 --context 256 --learning-rate 1e-3
  mambac train mambabyte:small --data train.txt --valid valid.txt --out run --minutes 40 --resume

DATA is a file or a folder, of which all files are read. Defaults come from the model's preset (train.batch and so on).
Ctrl-C ends training in order: a checkpoint is written and --resume goes on from it. With --steps, a run that was
killed and resumed ends in the same bits as one that was not. A run may go on with another --device.)";

struct Arguments {
  ModelArguments model;
  std::string data, valid, out, device, tuned;
  bool resume = false, check_nan = false, json = false;
  std::map<std::string, std::string> options;  // by name in the table of training options
  std::vector<std::string> references;
  std::string resume_command;
  TraceArguments trace;
};

std::string option_name(std::string_view name) {
  std::string text = "--" + std::string(name);
  std::replace(text.begin(), text.end(), '_', '-');
  return text;
}

CurveReference parse_reference(const std::string& text) {
  const size_t equals = text.rfind('=');
  char* end = nullptr;
  const double value = equals == std::string::npos ? 0 : std::strtod(text.c_str() + equals + 1, &end);
  if (!end || *end || !(value > 0))
    throw InputError(fmt::format("--reference: found '{}', expected NAME=NUMBER", text));
  return {text.substr(0, equals), value};
}

/// Preset, then what the run in the folder was told, then the command line.
TrainOptions options_of(const Arguments& arguments, const Selection& selection) {
  TrainOptions options = trained_options(selection.model);
  if (arguments.resume && has_checkpoint(arguments.out))
    options = trained_options(load_model((std::filesystem::path(arguments.out) / "latest").string()));
  const auto size = [&](const char* dim, int64_t& value) {
    if (const auto found = selection.sizes.find(dim); found != selection.sizes.end()) value = found->second;
  };
  size("B", options.batch);
  size("L", options.context);
  for (const auto& [name, text] : arguments.options)
    if (!text.empty()) set_option(options, name, text);
  if (options.batch < 1 || options.context < 1)
    throw InputError(fmt::format("found a batch of {} and a context of {}, expected at least 1", options.batch,
                                 options.context));
  if (options.settings.steps == 0 && options.settings.minutes == 0)
    throw InputError("how long to train? expected --minutes or --steps");
  check_settings(options.settings);
  return options;
}

/// `used`: bytes of the host's memory that hold what was planned; nothing when that lies elsewhere.
void report(const TrainingResult& result, const ParameterLayout& layout, std::optional<int64_t> used,
            const Arguments& arguments) {
  const auto number = [](const auto& value) { return value ? Json(*value) : Json(); };
  if (arguments.json) {
    print_json({{"step", result.step},
                {"bytes", result.bytes},
                {"seconds", result.seconds},
                {"parameters", layout.count()},
                {"train_bits_per_byte", result.train_bits_per_byte},
                {"valid_bits_per_byte", number(result.valid_bits_per_byte)},
                {"best_valid_bits_per_byte", number(result.best_valid)},
                {"planned_bytes", result.planned_bytes},
                {"used_bytes", number(used)},
                {"peak_resident_bytes", result.memory.peak_resident},
                {"interrupted", result.signal != 0},
                {"checkpoint", result.checkpoint.string()}});
    return;
  }
  fmt::print("{} steps, {} in {} ({}/s)\n", result.step, byte_text(static_cast<double>(result.bytes)),
             duration_text(result.seconds),
             byte_text(static_cast<double>(result.bytes) / std::max(result.seconds, 1e-9)));
  if (result.train_bits_per_byte > 0) fmt::print("training {:.4f} bits per byte\n", result.train_bits_per_byte);
  if (result.valid_bits_per_byte)
    fmt::print("held-out {:.4f} bits per byte (best {:.4f})\n", *result.valid_bits_per_byte, *result.best_valid);
  fmt::print("memory: planned {}{}; the whole process at its peak {}\n",
             byte_text(static_cast<double>(result.planned_bytes)), used_text(used, arguments.device),
             byte_text(static_cast<double>(result.memory.peak_resident)));
  fmt::print("checkpoint: {}\n", result.checkpoint.string());
}

/// For TrainingJob::find_not_finite, in the graphs that read data.
std::function<std::string(Executable&)> finder(const CompiledTraining& compiled, const TrainOptions& options) {
  return [&compiled, sizes = Bindings{{"B", options.batch}, {"L", options.context}}](Executable& graph) {
    const bool training = &graph == &**compiled.gradients;
    return find_not_finite(*(training ? compiled.gradients : compiled.valid)->program, graph, sizes);
  };
}

constexpr const char* kRecords = "tuned.json";

/// A run that goes on has the schedules that it began with, whatever was tuned since: it ends in the same bits.
void pin_schedules(ChosenDevice& device, const Arguments& arguments) {
  if (!arguments.resume || arguments.tuned != "auto" || !has_checkpoint(arguments.out)) return;
  const std::filesystem::path file = find_checkpoint(arguments.out) / kRecords;
  if (std::filesystem::exists(file)) return device.pin(file.string());
  talk(
      fmt::format("'{}' is not there: the run goes on with the schedules that there are now, and may end in other bits",
                  file.string()));
}

int run_train(const Arguments& arguments) {
  ChosenDevice device(arguments.device, arguments.tuned);
  pin_schedules(device, arguments);
  Selection selection = select_model(arguments.model.spec, arguments.model.settings);
  TrainOptions options = options_of(arguments, selection);
  note_seed("train", options.settings.seed);
  const Graph training = training_graph(selection.model);
  check_reads_bytes(training);
  const std::string start = selection.model.checkpoint;
  if (start.empty()) check_trainable(training);

  ByteSource data(arguments.data);
  std::optional<ByteSource> valid;
  if (!arguments.valid.empty()) valid.emplace(arguments.valid);
  data.set_window(options.context + 1);  // data that is too short is known before anything is compiled
  if (valid) valid->set_window(options.context + 1);
  std::vector<CurveReference> references;
  for (const std::string& text : arguments.references) references.push_back(parse_reference(text));

  const ParameterLayout layout = layout_of(training);
  talk(fmt::format("{}: {} parameters, batch {}, context {}, {}; compiling", selection.model.name, layout.count(),
                   options.batch, options.context, name_of(options.storage)));
  const CompiledTraining compiled =
      compile_training(selection.model, training, options, layout, valid.has_value(), device.target());
  if (compiled.recompute > 0)
    talk(fmt::format("the backward pass computes {} of the model's {} parts again, so that the rest fits into memory",
                     compiled.recompute, recomputable_parts(training, "loss") + 1));
  options.recompute = compiled.recompute;  // resumed runs do the same, and so end in the same bits
  selection.model.training = option_texts(options);
  std::optional<SafetensorsFile> weights;
  if (!start.empty()) weights.emplace(find_checkpoint(start) / "model.safetensors");

  Progress progress = Progress::on_stderr();
  const MemoryUse before = memory_use();
  TrainingJob job{.settings = options.settings, .layout = layout, .graphs = compiled.graphs(), .data = data};
  job.valid = valid ? &*valid : nullptr;
  job.folder = arguments.out;
  job.resume = arguments.resume;
  job.start = weights ? &*weights : nullptr;
  job.texts = {{"model.mb", definition_text(selection.model)}, {kRecords, device.used_records()}};
  job.references = references;
  job.title = fmt::format("{}{}{}", selection.model.name, selection.model.preset.empty() ? "" : ":",
                          selection.model.preset);
  job.resume_command = arguments.resume_command;
  job.progress = &progress;
  if (arguments.check_nan) job.find_not_finite = finder(compiled, options);
  const TrainingResult result = train(job);
  std::optional<int64_t> used;
  if (device->memory_is_host()) used = result.memory.anonymous - before.anonymous;
  report(result, layout, used, arguments);
  return result.signal ? 128 + result.signal : 0;
}

/// The command line that goes on with this run.
std::string resume_command(const Arguments& arguments) {
  std::string command = fmt::format("mambac train {}", arguments.model.spec);
  const auto add = [&](const std::string& option, const std::string& value) {
    if (!value.empty()) command += fmt::format(" {} '{}'", option, value);
  };
  for (const std::string& setting : arguments.model.settings) add("--set", setting);
  add("--data", arguments.data);
  add("--valid", arguments.valid);
  add("--out", arguments.out);
  for (const auto& [name, text] : arguments.options) add(option_name(name), text);
  if (arguments.device != "cpu") add("--device", arguments.device);
  if (arguments.check_nan) command += " --check-nan";
  for (const std::string& reference : arguments.references) add("--reference", reference);
  return command + " --resume";
}

}  // namespace

void add_train(Command app, int& exit_code) {
  const Command command = app.add_command("train", kDescription);
  auto arguments = std::make_shared<Arguments>();
  add_model(command, arguments->model);
  command.add_option("--data", arguments->data, "what to learn from: a file, or all files of a folder").required();
  command.add_option("--valid", arguments->valid, "held-out data, measured during and after training");
  command.add_option("--out", arguments->out, "the folder of the run").required();
  command.add_flag("--resume", arguments->resume, "go on with the run in the folder, with its options");
  for (const TrainOption& option : train_options())
    command.add_option(option_name(option.name), arguments->options[std::string(option.name)],
                       std::string(option.help)).type_name("");
  command.option("--steps").excludes(command.option("--minutes"));
  command.add_option("--reference", arguments->references, "a line in the curve to compare with, NAME=BITS_PER_BYTE")
      .type_name("");
  command.add_flag("--check-nan", arguments->check_nan,
                   "when a loss or gradient is not finite, say where the first NaN or infinity is made");
  add_device(command, arguments->device);
  add_tuned(command, arguments->tuned);
  add_trace(command, arguments->trace);
  add_json(command, arguments->json);
  command.callback([arguments, &exit_code] {
    arguments->resume_command = resume_command(*arguments);
    traced(arguments->trace, "train", [&] { exit_code = run_train(*arguments); });
  });
}

}  // namespace mambac::tools
