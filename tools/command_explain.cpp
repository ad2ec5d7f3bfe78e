#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/explain.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription =
    R"(Explains the kernels of a model: the lines that each is made from, and what it costs; of one kernel, why its neighbours
are not fused with it, too, its schedule, and what bounds it.

  mambac explain mambabyte:353m --graph prefill
  mambac explain mambabyte:353m k5 --graph prefill --dtype bf16
  mambac explain mambabyte:353m k5 --graph prefill --set B=1 L=8192
  mambac explain mambabyte:tiny k5 --graph prefill --code
  mambac explain mambabyte:353m k5 --graph train --device cuda:sm_90 --gpu h200 --set B=8 L=8192 --json

A KERNEL is named as for 'dump --kernel': k5, its name or the first words of it, a part of its name in emitted code; all
that have it are explained. Why two kernels are two is what fusion says when it is asked to unite them; docs/remarks.md
lists the reasons. Work is counted at the sizes of --set, without them at B=1 L=1024. Where --set gives all sizes, this
machine is measured for the least times of a kernel's bytes, exponentials and arithmetic. With --device cuda fusion and
schedules are those of a GPU; with an architecture, cuda:sm_90, there are issue slots, registers, spills and occupancy
from its machine code, too, and the least times on --gpu. --code lists loops, LLVM IR and assembly, or CUDA C++, with the
line of the model behind each line.)";

struct Arguments {
  ModelArguments model;
  std::string kernel, graph = "train", dtype = "f32", device = "cpu", gpu;
  int recompute = 0;
  std::vector<std::string> schedule;
  bool code = false, json = false;
};

/// Whether --set gave the size of every free dimension.
bool is_bound(const Graph& graph, const Bindings& sizes) {
  return std::ranges::all_of(
      graph.dims(), [&](const Dim& dim) { return !dim.is_free() || dim.is_tiles() || sizes.contains(dim.name); });
}

void set_device(ExplainOptions& options, const Arguments& arguments) {
  if (arguments.device == "cpu") {
    if (!arguments.gpu.empty())
      throw InputError("--gpu: found --device cpu, expected an architecture such as cuda:sm_90");
    return;
  }
  options.device = DeviceKind::gpu;
  options.pipeline = for_gpu(options.pipeline);
  if (arguments.device == "cuda" && arguments.gpu.empty()) return;
  options.architecture = architecture_named(arguments.device);
  options.gpus = gpus_for(options.architecture, arguments.gpu);
}

ExplainOptions options_of(const Arguments& arguments, const Selection& selection) {
  const GraphKind kind = kind_named(arguments.graph);
  ExplainOptions options;
  options.pipeline = options_for(kind, storage_named(arguments.dtype), selection.sizes);
  const Graph source = source_graph(selection.model, kind);
  options.pipeline.recompute = checked_recompute(arguments.recompute, kind, source);
  options.sizes = selection.sizes;
  options.sizes.emplace("B", 1);
  options.sizes.emplace("L", 1024);
  options.schedule = arguments.schedule;
  options.code = arguments.code;
  set_device(options, arguments);
  options.measure = options.device == DeviceKind::cpu && is_bound(source, selection.sizes);
  return options;
}

Json head_json(const Arguments& arguments, const ExplainOptions& options) {
  return {{"model", arguments.model.spec},
          {"graph", arguments.graph},
          {"dtype", arguments.dtype},
          {"device", arguments.device},
          {"sizes", options.sizes}};
}

void run_explain(const Arguments& arguments) {
  const Selection selection = select_model(arguments.model.spec, arguments.model.settings);
  Explainer explainer(selection.model, options_of(arguments, selection));
  Json json = head_json(arguments, explainer.options());
  if (arguments.kernel.empty()) {
    if (arguments.code) throw InputError("--code: found no KERNEL, expected the one whose code is listed");
    if (!arguments.schedule.empty())
      throw InputError("--schedule: found no KERNEL, expected the one whose schedule is changed");
    if (!arguments.json) return print_kernels(explainer);
    json["kernels"] = kernels_json(explainer);
    return print_json(json);
  }
  json["kernels"] = Json::array();
  bool first = true;
  for (const KernelExplanation& one : explainer.explain(kernels_named(arguments.kernel, explainer.graph()))) {
    if (arguments.json)
      json["kernels"].push_back(explanation_json(one));
    else {
      if (!first) fmt::print("\n");
      print_explanation(one, explainer);
    }
    first = false;
  }
  if (arguments.json) print_json(json);
}

}  // namespace

void add_explain(Command app) {
  const Command command = app.add_command("explain", kDescription);
  auto arguments = std::make_shared<Arguments>();
  add_model(command, arguments->model);
  command.add_option("KERNEL", arguments->kernel, "k5, or by its name; without, a table of all").type_name("");
  command.add_option("--graph", arguments->graph, "train, prefill, step or eval").show_default().type_name("");
  command.add_option("--dtype", arguments->dtype, "f32 or bf16").show_default().type_name("");
  add_recompute(command, arguments->recompute);
  const Option device = command.add_option("--device", arguments->device, "cpu, cuda, or an architecture: cuda:sm_90");
  device.show_default().type_name("");
  command.add_option("--gpu", arguments->gpu, "with an architecture: h100 or h200; without, all that it has")
      .needs(device)
      .type_name("");
  command.add_flag("--code", arguments->code, "list its code, with the line of the model behind each line");
  add_schedule(command, arguments->schedule);
  add_json(command, arguments->json);
  command.callback([arguments] { run_explain(*arguments); });
}

}  // namespace mambac::tools
