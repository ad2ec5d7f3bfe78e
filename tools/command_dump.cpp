#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "codegen/cuda/cuda_emit.h"
#include "codegen/labelled.h"
#include "codegen/llvm_jit.h"
#include "codegen/loop_ir.h"
#include "frontend/suggest.h"
#include "ir/error.h"
#include "ir/print.h"
#include "runtime/atomic_file.h"
#include "runtime/cpu_info.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/compile.h"
#include "tools/cuda_kernels.h"
#include "tools/graph_text.h"
#include "tools/schedule_option.h"
#include "tools/work_notes.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription =
    R"(Shows what the compiler makes of a model: the graph after a stage, the loops of its kernels, their code.

  mambac dump mambabyte:tiny --graph step
  mambac dump mambabyte:353m --graph train --remarks
  mambac dump mambabyte:tiny --graph prefill --stage all --out dumps
  mambac dump mambabyte:tiny --graph train --stage all --stop-after clean --out dumps
  mambac dump mambabyte:tiny --graph prefill --stage kernels --kernel k5
  mambac dump mambabyte:tiny --graph prefill --stage asm --kernel k5 --labels
  mambac dump mambabyte:tiny --graph train --stage kernels --device cuda --schedule k5:width=32
  mambac dump --start-at dumps/02-differentiate.mb --stage kernels
  mambac dump --list-stages

The text of a graph is the language of definitions: it can be read back. The line above it says after which stage it
stands and with what options, so that --start-at goes on from there, with what was changed in the text. Remarks follow
as comments. '--stage all' has the source, each stage that changed the graph, and the loops of the kernels; a file's
number is that of its stage in --list-stages. Where a pass fails, what came before it is written, and, when it made a
graph that is refused, that too. No pass runs that is not needed: those after --stage only for --remarks, those after
--stop-after never. Fusion and schedules are those of --device, without one a GPU's for the
stage cuda and else the CPU's.)";

struct Arguments {
  ModelArguments model;
  std::string graph = "train", stage = "stores", dtype = "f32", out, kernel, start_at, stop_after;
  int recompute = 0;
  bool remarks = false, labels = false, json = false, list = false;
  std::string device;
  std::vector<std::string> schedule;
};

/// What follows the passes, in the order of making.
constexpr std::pair<std::string_view, std::string_view> kCodeStages[] = {
    {"kernels", "the loops of every kernel, with the schedule"},
    {"llvm", "LLVM IR of every kernel, optimised for this machine"},
    {"asm", "the machine code of every kernel, as assembly"},
    {"cuda", "CUDA C++ of every kernel, fused for a GPU"},
};

/// All stages and what they are for; a stage's number is its place here.
std::vector<std::pair<std::string_view, std::string_view>> all_stages() {
  std::vector<std::pair<std::string_view, std::string_view>> all{{"source", "the graph as the definition gives it"}};
  for (const Stage& stage : pipeline_stages()) all.emplace_back(stage.name, stage.reason);
  all.insert(all.end(), std::begin(kCodeStages), std::end(kCodeStages));
  return all;
}

/// For which device the code of a stage is; empty: for each, or it is no code.
std::string_view target_of(std::string_view stage) {
  return stage == "cuda" ? "cuda" : stage == "llvm" || stage == "asm" ? "cpu" : "";
}

/// Whether fusion and schedules are those of a GPU.
bool is_for_gpu(const Arguments& arguments) {
  const std::string& device = arguments.device;
  const std::string_view target = target_of(arguments.stage);
  if (device.empty()) return target == "cuda";
  if (device != "cpu" && device != "cuda")
    throw InputError(fmt::format("--device: found '{}', expected cpu or cuda", device));
  if (!target.empty() && device != target)
    throw InputError(fmt::format("--device: found {}, expected {}: the stage {} is code for it alone", device, target,
                                 arguments.stage));
  return device == "cuda";
}

Program::Scheduler default_scheduler(bool gpu) {
  if (gpu) return default_gpu_schedule;
  return [](const Graph& fused, int number) {
    return default_schedule(fused, number, {cpu_info().lanes(), cpu_info().halves_vectors});
  };
}

struct StageText {
  std::string stage;
  std::string head;  // where a graph stands in the pipeline
  std::string text;
  std::string extension;
};

/// Collects the texts that were asked for.
class Dump {
 public:
  explicit Dump(const Arguments& arguments)
      : arguments_(arguments),
        gpu_(is_for_gpu(arguments)),
        schedules_(kind(), default_scheduler(gpu_), arguments.schedule) {
    check_stage();
  }

  /// StageFailure after what came before is in `texts`.
  void run() {
    if (arguments_.start_at.empty()) run_all();
    else go_on();
    if (shows_kernels()) schedules_.check_used();
    if (texts.empty())
      throw InputError(fmt::format("--stage: {} is no stage of the {} graph{}", arguments_.stage,
                                   name_of(options_.kind),
                                   arguments_.start_at.empty() && arguments_.stop_after.empty()
                                       ? ""
                                       : ", or not one of those that run"));
  }

  std::string_view kind_name() const { return name_of(options_.kind); }

  std::vector<StageText> texts;
  Remarks remarks;

 private:
  void run_all() {
    const GraphKind kind = kind_named(arguments_.graph);
    const DType storage = storage_named(arguments_.dtype);
    const Selection selection = select_model(arguments_.model.spec, arguments_.model.settings);
    const Graph source = source_graph(selection.model, kind);
    options_ = options_for(kind, storage, selection.sizes);
    options_.recompute = checked_recompute(arguments_.recompute, kind, source);
    if (gpu_) options_ = for_gpu(options_);
    if (wants("source")) add_graph("source", print(source));
    run_from(source, "source");
  }

  void go_on() {
    const GraphText start = read_graph(arguments_.start_at, true);
    options_ = start.point->options;
    run_from(start.graph, start.point->stage);
  }

  void run_from(const Graph& graph, const std::string& after) {
    PipelineResult result = run_noting_failure(graph, after, stages_to_run(after));
    remarks = std::move(result.remarks);
    if (!shows_kernels()) return;
    for (const auto& [stage, reason] : kCodeStages)
      if (wants(stage)) texts.push_back({std::string(stage), "", code(result.graph, stage), extension(stage)});
  }

  PipelineResult run_noting_failure(const Graph& graph, const std::string& after,
                                    const std::vector<const Stage*>& stages) {
    try {
      return noted_stages(graph, after, options_, stages, [this](std::string_view stage, const Graph& made) {
        if (wants(stage)) add_graph(stage, print(made));
      });
    } catch (const StageFailure& failure) {
      const Graph* refused = failure.refused().get();
      if (refused && wants(failure.stage()) && is_printable(*refused))
        texts.push_back({failure.stage(), "", print(*refused), ".refused.mb"});
      throw;
    }
  }

  std::vector<const Stage*> stages_to_run(const std::string& after) const {
    std::vector<const Stage*> stages = stages_after(after, options_.kind);
    const bool stops = !arguments_.stop_after.empty();
    if (!stops && arguments_.remarks) return stages;
    const std::string& last = stops ? arguments_.stop_after : arguments_.stage;
    const auto end = std::ranges::find(stages, last, &Stage::name);
    if (end != stages.end()) return {stages.begin(), end + 1};
    if (last == after) return {};
    if (!stops) return stages;
    std::vector<std::string_view> known{after};
    for (const Stage* stage : stages) known.push_back(stage->name);
    throw InputError(fmt::format("--stop-after: found '{}', expected one of: {}", last, fmt::join(known, ", ")));
  }

  static std::string extension(std::string_view stage) {
    return stage == "asm" ? ".s" : stage == "llvm" ? ".ll" : stage == "cuda" ? ".cu" : ".txt";
  }

  /// Code of targets comes only when it is asked for by name: `all` would take long.
  bool wants(std::string_view stage) const {
    return arguments_.stage == stage || (arguments_.stage == "all" && target_of(stage).empty());
  }

  void check_stage() const {
    std::vector<std::string> known{"all"};
    for (const auto& [stage, reason] : all_stages()) known.emplace_back(stage);
    if (std::find(known.begin(), known.end(), arguments_.stage) == known.end())
      throw InputError(fmt::format("there is no stage '{}'{}; there are: {}", arguments_.stage,
                                   did_you_mean(arguments_.stage, known), fmt::join(known, ", ")));
    if (!arguments_.stop_after.empty() && is_code(arguments_.stage))
      throw InputError(fmt::format("--stop-after: the stage {} comes after all passes", arguments_.stage));
    if (shows_kernels()) return;
    if (!arguments_.kernel.empty()) refuse_for_graph("--kernel");
    if (!arguments_.schedule.empty()) refuse_for_graph("--schedule");
    if (arguments_.labels) refuse_for_graph("--labels");
  }

  [[noreturn]] void refuse_for_graph(std::string_view option) const {
    throw InputError(fmt::format("{}: the stage {} is a whole graph, expected --stage kernels, llvm, asm or cuda",
                                 option, arguments_.stage));
  }

  static bool is_code(std::string_view name) {
    return std::ranges::any_of(kCodeStages, [&](const auto& stage) { return stage.first == name; });
  }

  bool shows_kernels() const {
    return arguments_.stop_after.empty() && (arguments_.stage == "all" || is_code(arguments_.stage));
  }

  /// Of all stages, those that changed nothing are left out.
  void add_graph(std::string_view stage, std::string text) {
    if (arguments_.stage == "all" && text == graph_text_) return;
    graph_text_ = text;
    texts.push_back({std::string(stage), point_text({std::string(stage), options_}), std::move(text), ".mb"});
  }

  std::string code(const Graph& fused, std::string_view stage) const {
    const CodeNote note(fused, options_, std::string(stage), kind());
    const Layouts layouts(fused);
    const Program::Scheduler schedule = schedules_.scheduler();
    std::string text;
    for (const int number : kernels_named(arguments_.kernel, fused)) {
      const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
      const Schedule chosen = schedule(fused, number);
      if (group.kind == KernelGroup::library)
        text += fmt::format("{} {}: a call of the library\n\n", stage == "cuda" ? "//" : "#", group.name);
      else
        text += code_of(lower(fused, layouts, number, chosen, kind()).kernel, stage) + "\n";
    }
    return text;
  }

  DeviceKind kind() const { return gpu_ ? DeviceKind::gpu : DeviceKind::cpu; }

  std::string code_of(const loop::Kernel& kernel, std::string_view stage) const {
    if (arguments_.labels)
      return with_labels(labelled_code(kernel, stage), kernel.origins, comment_mark(stage));
    if (stage == "kernels") return loop::print(kernel);
    if (stage == "cuda") return cuda_emit::emit(kernel);
    const Listing listing = Jit::host().list(kernel);
    return stage == "llvm" ? listing.llvm_ir : listing.assembly;
  }

  const Arguments& arguments_;
  const bool gpu_;
  const ScheduleSettings schedules_;
  PipelineOptions options_;
  std::string graph_text_;  // of the last stage that was added
};

Json stage_json(const StageText& text) {
  Json json = {{"name", text.stage}};
  if (!text.head.empty()) json["point"] = text.head.substr(0, text.head.size() - 1);
  json["text"] = text.text;
  return json;
}

void print_all_json(const Dump& dump, const Arguments& arguments) {
  Json json = {{"graph", dump.kind_name()}, {"stages", Json::array()}};
  for (const StageText& text : dump.texts) json["stages"].push_back(stage_json(text));
  if (arguments.remarks) {
    json["remarks"] = Json::array();
    for (const Remark& remark : dump.remarks) json["remarks"].push_back(remark_json(remark));
  }
  print_json(json);
}

void write_all(const Dump& dump, const Arguments& arguments) {
  const std::filesystem::path folder = arguments.out;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw EnvironmentError(fmt::format("cannot make the folder '{}': {}", arguments.out, error.message()));
  const auto all = all_stages();
  for (const StageText& text : dump.texts) {
    const auto place = std::ranges::find(all, text.stage, [](const auto& stage) { return stage.first; });
    const std::string name = fmt::format("{:02}-{}{}", place - all.begin(), text.stage, text.extension);
    write_file(folder / name, text.head + text.text);
    fmt::print("{}\n", (folder / name).string());
  }
  if (!arguments.remarks) return;
  write_file(folder / "remarks.txt", remark_text(dump.remarks));
  fmt::print("{}\n", (folder / "remarks.txt").string());
}

void print_stages(bool json) {
  Json list = Json::array();
  for (const auto& [name, reason] : all_stages()) {
    list.push_back({{"name", name}, {"reason", reason}});
    if (!json) fmt::print("{:<14}{}\n", name, reason);
  }
  if (json) print_json(list);
}

void show(const Dump& dump, const Arguments& arguments) {
  if (arguments.json) return print_all_json(dump, arguments);
  if (!arguments.out.empty()) return write_all(dump, arguments);
  for (const StageText& text : dump.texts)
    fmt::print("{}{}{}", text.head, text.text, dump.texts.size() > 1 ? "\n" : "");
  if (arguments.remarks) fmt::print("{}", remark_text(dump.remarks));
}

void run_dump(const Arguments& arguments) {
  if (arguments.list) return print_stages(arguments.json);
  Dump dump(arguments);
  try {
    dump.run();
  } catch (const StageFailure&) {
    show(dump, arguments);
    throw;
  }
  show(dump, arguments);
}

}  // namespace

void add_dump(Command app) {
  const Command command = app.add_command("dump", kDescription);
  auto arguments = std::make_shared<Arguments>();
  const Option model = command.add_option("MODEL", arguments->model.spec,
                                          "definition file, shipped name, either with :PRESET, or checkpoint folder")
                           .type_name("");
  add_settings(command, arguments->model.settings);
  command.add_option("--graph", arguments->graph, "train, prefill, step or eval")
      .show_default()
      .type_name("");
  command.add_option("--stage", arguments->stage, "after which stage, or all").show_default().type_name("");
  command.add_option("--stop-after", arguments->stop_after, "the last pass that runs").type_name("STAGE");
  command
      .add_option("--kernel", arguments->kernel,
                  "only this kernel: k4, or by its name; a part that several have shows them all")
      .type_name("NAME");
  command.add_option("--device", arguments->device, "whose fusion and schedules: cpu or cuda").type_name("");
  add_schedule(command, arguments->schedule);
  command.add_option("--dtype", arguments->dtype, "f32 or bf16").show_default().type_name("");
  add_recompute(command, arguments->recompute);
  const Option start = command.add_option("--start-at", arguments->start_at,
                                          "a graph that was dumped: go on from there, in the place of MODEL")
                           .type_name("FILE");
  start.excludes(model);
  for (const char* option : {"--graph", "--dtype", "--set", "--recompute"}) start.excludes(command.option(option));
  command.add_option("--out", arguments->out, "write numbered files into this folder").type_name("DIR");
  command.add_flag("--remarks", arguments->remarks, "say where fusion stopped, why, and what would make it fuse");
  command.add_flag("--labels", arguments->labels, "code: the line of the model behind each line of it");
  command.add_flag("--list-stages", arguments->list, "name the stages and do nothing");
  add_json(command, arguments->json);
  command.callback([arguments] {
    if (arguments->model.spec.empty() && arguments->start_at.empty() && !arguments->list) miss_argument("MODEL");
    run_dump(*arguments);
  });
}

}  // namespace mambac::tools
