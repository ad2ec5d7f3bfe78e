#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "codegen/cuda/cuda_emit.h"
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

namespace mambac::tools {
namespace {

constexpr const char* kDescription =
    R"(Shows what the compiler makes of a model: the graph after a stage, the loops of its kernels, their code.

  mambac dump mambabyte:tiny --graph step
  mambac dump mambabyte:353m --graph train --remarks
  mambac dump mambabyte:tiny --graph prefill --stage all --out dumps
  mambac dump mambabyte:tiny --graph prefill --stage kernels --kernel k5
  mambac dump mambabyte:tiny --graph prefill --stage asm --kernel k5
  mambac dump --list-stages

The text of a graph is the language of definitions: it can be read back. Remarks follow it as comments.)";

struct Arguments {
  ModelArguments model;
  std::string graph = "train", stage = "stores", dtype = "f32", out, kernel;
  bool remarks = false, json = false, list = false;
};

/// What follows the passes, in the order of making.
constexpr std::pair<std::string_view, std::string_view> kCodeStages[] = {
    {"kernels", "the loops of every kernel, with the schedule"},
    {"llvm", "LLVM IR of every kernel, optimised for this machine"},
    {"asm", "the machine code of every kernel, as assembly"},
    {"cuda", "CUDA C++ of every kernel, fused for a GPU"},
};

struct StageText {
  std::string stage;
  std::string text;
  std::string extension;
};

/// Collects the texts that were asked for.
class Dump {
 public:
  explicit Dump(const Arguments& arguments) : arguments_(arguments) { check_stage(); }

  void run() {
    const GraphKind kind = kind_named(arguments_.graph);
    const DType storage = storage_named(arguments_.dtype);
    const Selection selection = select_model(arguments_.model.spec, arguments_.model.settings);
    const PipelineOptions options = arguments_.stage == "cuda" ? gpu_options_for(kind, storage, selection.sizes)
                                                               : options_for(kind, storage, selection.sizes);
    PipelineResult result = run_pipeline(source_graph(selection.model, kind), options,
                                         [&](std::string_view stage, const Graph& graph) {
                                           if (wants(stage)) add(stage, print(graph), ".mb");
                                         });
    remarks = std::move(result.remarks);
    for (const auto& [stage, reason] : kCodeStages)
      if (wants(stage)) add(stage, code(result.graph, stage), extension(stage));
  }

  std::vector<StageText> texts;
  Remarks remarks;

 private:
  static std::string extension(std::string_view stage) {
    return stage == "asm" ? ".s" : stage == "llvm" ? ".ll" : stage == "cuda" ? ".cu" : ".txt";
  }

  /// Code of targets comes only when it is asked for by name: `all` would take long.
  bool wants(std::string_view stage) const {
    const bool is_code = stage == "llvm" || stage == "asm" || stage == "cuda";
    return arguments_.stage == stage || (arguments_.stage == "all" && !is_code);
  }

  void check_stage() const {
    std::vector<std::string> known{"all", "source"};
    for (const Stage& stage : pipeline_stages()) known.emplace_back(stage.name);
    for (const auto& [stage, reason] : kCodeStages) known.emplace_back(stage);
    if (std::find(known.begin(), known.end(), arguments_.stage) == known.end())
      throw InputError(fmt::format("there is no stage '{}'{}; there are: {}", arguments_.stage,
                                   did_you_mean(arguments_.stage, known), fmt::join(known, ", ")));
  }

  void add(std::string_view stage, std::string text, std::string extension) {
    texts.push_back({std::string(stage), std::move(text), std::move(extension)});
  }

  std::string code(const Graph& fused, std::string_view stage) const {
    const Layouts layouts(fused);
    std::string text;
    bool any = false;
    for (size_t k = 0; k < fused.kernels.size(); ++k) {
      const KernelGroup& group = fused.kernels[k];
      if (!is_wanted(group.name)) continue;
      any = true;
      if (group.kind == KernelGroup::library) {
        text += fmt::format("{} {}: a call of the library\n\n", stage == "cuda" ? "//" : "#", group.name);
        continue;
      }
      const int number = static_cast<int>(k);
      const DeviceKind kind = stage == "cuda" ? DeviceKind::gpu : DeviceKind::cpu;
      const Schedule schedule = kind == DeviceKind::gpu ? default_gpu_schedule(fused, number)
                                                        : default_schedule(fused, number, cpu_info().lanes());
      const LoweredKernel lowered = lower(fused, layouts, number, schedule, kind);
      text += code_of(lowered.kernel, stage) + "\n";
    }
    if (!any)
      throw InputError(fmt::format("there is no kernel '{}'; there are k0 to k{}", arguments_.kernel,
                                   fused.kernels.size() - 1));
    return text;
  }

  /// "k4" is k4_walk_scan, but not k40_dot.
  bool is_wanted(const std::string& name) const {
    const std::string& kernel = arguments_.kernel;
    return kernel.empty() || name == kernel || name.starts_with(kernel + "_");
  }

  static std::string code_of(const loop::Kernel& kernel, std::string_view stage) {
    if (stage == "kernels") return loop::print(kernel);
    if (stage == "cuda") return cuda_emit::emit(kernel);
    const Listing listing = Jit::host().list(kernel);
    return stage == "llvm" ? listing.llvm_ir : listing.assembly;
  }

  const Arguments& arguments_;
};

Json remark_json(const Remark& remark) {
  return {{"pass", remark.pass},
          {"code", remark.code},
          {"location", remark.location.known() ? remark.location.str() : ""},
          {"op", remark.op},
          {"text", remark.text}};
}

void print_all_json(const Dump& dump, const Arguments& arguments) {
  Json json = {{"graph", arguments.graph}, {"stages", Json::array()}};
  for (const StageText& text : dump.texts) json["stages"].push_back({{"name", text.stage}, {"text", text.text}});
  if (arguments.remarks) {
    json["remarks"] = Json::array();
    for (const Remark& remark : dump.remarks) json["remarks"].push_back(remark_json(remark));
  }
  print_json(json);
}

std::string remark_text(const Remarks& remarks) {
  std::string text;
  for (const Remark& remark : remarks)
    text += fmt::format("# {}{}: {} [{}]\n", remark.location.known() ? remark.location.str() + ": " : "", remark.op,
                        remark.text, remark.code);
  return text;
}

void write_all(const Dump& dump, const Arguments& arguments) {
  const std::filesystem::path folder = arguments.out;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw EnvironmentError(fmt::format("cannot make the folder '{}': {}", arguments.out, error.message()));
  int number = 0;
  for (const StageText& text : dump.texts) {
    const std::string name = fmt::format("{:02}-{}{}", number++, text.stage, text.extension);
    write_file(folder / name, text.text);
    fmt::print("{}\n", (folder / name).string());
  }
  if (!arguments.remarks) return;
  write_file(folder / "remarks.txt", remark_text(dump.remarks));
  fmt::print("{}\n", (folder / "remarks.txt").string());
}

void print_stages(bool json) {
  Json list = Json::array();
  const auto add = [&](std::string_view name, std::string_view reason) {
    list.push_back({{"name", name}, {"reason", reason}});
    if (!json) fmt::print("{:<14}{}\n", name, reason);
  };
  add("source", "the graph as the definition gives it");
  for (const Stage& stage : pipeline_stages()) add(stage.name, stage.reason);
  for (const auto& [name, reason] : kCodeStages) add(name, reason);
  if (json) print_json(list);
}

void run_dump(const Arguments& arguments) {
  if (arguments.list) return print_stages(arguments.json);
  Dump dump(arguments);
  dump.run();
  if (arguments.json) return print_all_json(dump, arguments);
  if (!arguments.out.empty()) return write_all(dump, arguments);
  for (const StageText& text : dump.texts)
    fmt::print("{}{}{}", dump.texts.size() > 1 ? fmt::format("# stage: {}\n", text.stage) : "", text.text,
               dump.texts.size() > 1 ? "\n" : "");
  if (arguments.remarks) fmt::print("{}", remark_text(dump.remarks));
}

}  // namespace

void add_dump(Command app) {
  const Command command = app.add_command("dump", kDescription);
  auto arguments = std::make_shared<Arguments>();
  command.add_option("MODEL", arguments->model.spec,
                     "definition file, shipped name, either with :PRESET, or checkpoint folder").type_name("");
  add_settings(command, arguments->model.settings);
  command.add_option("--graph", arguments->graph, "train, prefill, step or eval")
      .show_default()
      .type_name("");
  command.add_option("--stage", arguments->stage, "after which stage, or all").show_default().type_name("");
  command.add_option("--kernel", arguments->kernel, "only this kernel: k4, or its whole name").type_name("NAME");
  command.add_option("--dtype", arguments->dtype, "f32 or bf16").show_default().type_name("");
  command.add_option("--out", arguments->out, "write numbered files into this folder").type_name("DIR");
  command.add_flag("--remarks", arguments->remarks, "say where fusion stopped, and why");
  command.add_flag("--list-stages", arguments->list, "name the stages and do nothing");
  add_json(command, arguments->json);
  command.callback([arguments] {
    if (arguments->model.spec.empty() && !arguments->list) miss_argument("MODEL");
    run_dump(*arguments);
  });
}

}  // namespace mambac::tools
