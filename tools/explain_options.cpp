#include "tools/explain_options.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "tools/tuned_fusion.h"

namespace mambac::tools {
namespace {

/// Whether --set gave the size of every free dimension.
bool is_bound(const Graph& graph, const Bindings& sizes) {
  return std::ranges::all_of(
      graph.dims(), [&](const Dim& dim) { return !dim.is_free() || dim.is_tiles() || sizes.contains(dim.name); });
}

void set_device(ExplainOptions& options, const ExplainArguments& arguments) {
  if (arguments.device == "cpu") {
    if (!arguments.gpu.empty())
      throw InputError("--gpu: found --device cpu, expected an architecture such as cuda:sm_90");
    options.tuned = tuned_schedules(arguments.tuned, cpu_device().model());
    return;
  }
  options.device = DeviceKind::gpu;
  options.pipeline = for_gpu(options.pipeline);
  if (arguments.device == "cuda" && arguments.gpu.empty()) return;
  options.architecture = architecture_named(arguments.device);
  options.gpus = gpus_for(options.architecture, arguments.gpu);
  DeviceModel described;
  if (!arguments.gpu.empty()) described.name = tuned_device(arguments.gpu);
  if (!described.name.empty()) options.tuned = tuned_schedules(arguments.tuned, described);
}

}  // namespace

void add_explain_options(Command command, ExplainArguments& arguments) {
  add_model(command, arguments.model);
  command.add_option("--graph", arguments.graph, "train, prefill, step or eval").show_default().type_name("");
  command.add_option("--dtype", arguments.dtype, "f32 or bf16").show_default().type_name("");
  add_recompute(command, arguments.recompute);
  const Option device = command.add_option("--device", arguments.device, "cpu, cuda, or an architecture: cuda:sm_90");
  device.show_default().type_name("");
  command.add_option("--gpu", arguments.gpu, "with an architecture: h200 or another described GPU; without, all that are "
                                             "described of it")
      .needs(device)
      .type_name("");
  add_schedule(command, arguments.schedule);
  add_tuned(command, arguments.tuned);
}

ExplainOptions explain_options(const ExplainArguments& arguments, const Selection& selection) {
  const GraphKind kind = kind_named(arguments.graph);
  ExplainOptions options;
  options.pipeline = options_for(kind, storage_named(arguments.dtype), selection.sizes);
  const Graph source = source_graph(selection.model, kind);
  options.pipeline.recompute = checked_recompute(arguments.recompute, kind, source);
  options.sizes = selection.sizes;
  options.sizes.emplace("B", 1);
  options.sizes.emplace("L", 1024);
  options.schedule = arguments.schedule;
  set_device(options, arguments);
  if (options.tuned && !options.tuned->empty()) {
    SourceProgram run = program_of(selection.model, kind, options.pipeline.storage, options.sizes);
    run.options.fuse = options.pipeline.fuse;
    run.options.recompute = options.pipeline.recompute;
    options.pipeline.fuse =
        tuned_pipeline(run.source, run.options, options.sizes, options.device, options.tuned.get()).options.fuse;
  }
  options.measure = options.device == DeviceKind::cpu && is_bound(source, selection.sizes);
  return options;
}

Json explain_head(const ExplainArguments& arguments, const Bindings& sizes) {
  return {{"model", arguments.model.spec},
          {"graph", arguments.graph},
          {"dtype", arguments.dtype},
          {"device", arguments.device},
          {"sizes", sizes}};
}

}  // namespace mambac::tools
