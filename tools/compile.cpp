#include "tools/compile.h"

#include <fmt/format.h>

#include <charconv>

#include "ir/trace.h"
#include "passes/segments.h"
#include "tools/kernel_labels.h"
#include "tools/tuned_fusion.h"
#include "tools/work_notes.h"

namespace mambac::tools {

std::map<std::string, int64_t> parse_settings(const std::vector<std::string>& settings) {
  std::map<std::string, int64_t> values;
  for (const std::string& setting : settings) {
    const size_t equals = setting.find('=');
    int64_t value = 0;
    const char* end = setting.data() + setting.size();
    if (equals == std::string::npos || equals == 0)
      throw InputError(fmt::format("--set: found '{}', expected NAME=INTEGER", setting));
    const auto [last, error] = std::from_chars(setting.data() + equals + 1, end, value);
    if (error != std::errc() || last != end)
      throw InputError(fmt::format("--set: found '{}', expected an integer of at most 64 bits after '='", setting));
    if (value < 1) throw InputError(fmt::format("--set: found '{}', expected a number above 0", setting));
    if (!values.emplace(setting.substr(0, equals), value).second)
      throw InputError(fmt::format("--set: '{}' is given twice", setting.substr(0, equals)));
  }
  return values;
}

Selection select_model(const std::string& spec, const std::vector<std::string>& settings) {
  Selection selection{load_model(spec), {}};
  if (selection.model.name.empty() && !settings.empty())
    throw InputError(fmt::format("'{}' has blocks only and no main one, so there is nothing to --set", spec));
  selection.sizes = set(selection.model, parse_settings(settings));
  note_model(definition_text(selection.model));
  return selection;
}

DType storage_named(const std::string& text) {
  const auto dtype = dtype_from(text);
  if (dtype != DType::f32 && dtype != DType::bf16)
    throw InputError(fmt::format("the element type: found '{}', expected f32 or bf16", text));
  return *dtype;
}

GraphKind kind_named(const std::string& text) {
  if (const auto kind = graph_kind_from(text)) return *kind;
  throw InputError(fmt::format("the kind of graph: found '{}', expected train, prefill, step or eval", text));
}

int checked_recompute(int parts, GraphKind kind, const Graph& source) {
  if (parts < 0) throw InputError(fmt::format("--recompute: found {}, expected 0 or more", parts));
  if (parts > 0 && kind != GraphKind::train)
    throw InputError(fmt::format("--recompute: found {} for a {} graph, which has no backward pass; expected --graph train",
                                 parts, name_of(kind)));
  if (const int most = kind == GraphKind::train ? recomputable_parts(source, "loss") : 0; parts > most)
    throw InputError(fmt::format("--recompute: found {}, expected at most {}: '{}' has {} layers, and the values of the "
                                 "last are read at once",
                                 parts, most, source.name, most + 1));
  return parts;
}

Graph source_graph(const Model& model, GraphKind kind) {
  return kind == GraphKind::train || kind == GraphKind::eval ? training_graph(model)
                                                                  : inference_graph(model);
}

Graph with_output(Graph graph, const std::string& name) {
  std::erase_if(graph.outputs(), [&](const Output& output) { return output.name != name; });
  graph.remove_dead();
  return graph;
}

ParameterLayout layout_of(const Graph& graph) {
  std::vector<ParameterSpec> parameters;
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::Param) continue;
    ParameterSpec spec{node.param.checkpoint_name, {}, node.param.init, node.param.weight_decay};
    for (DimId d : node.type.dims) spec.shape.push_back(size_of(graph, d, {}));
    parameters.push_back(std::move(spec));
  }
  return ParameterLayout(std::move(parameters));
}

PipelineOptions options_for(GraphKind kind, DType storage, const Bindings& sizes) {
  PipelineOptions options;
  options.kind = kind;
  options.storage = storage;
  options.narrow_parameters = kind == GraphKind::prefill || kind == GraphKind::step;
  if (kind == GraphKind::step) {
    const auto rows = sizes.find("B");
    options.fuse.library_contractions = rows != sizes.end() && rows->second > kMatrixVectorRows;
  }
  return options;
}

SourceProgram program_of(const Model& model, GraphKind kind, DType storage, const Bindings& sizes) {
  SourceProgram program{source_graph(model, kind), options_for(kind, storage, sizes)};
  if (kind == GraphKind::train) program.source = with_output(std::move(program.source), "loss");
  if (kind == GraphKind::eval) {
    program.source = with_output(std::move(program.source), "nll");
    program.options.narrow_parameters = true;
  }
  return program;
}

FuseOptions device_options(FuseOptions device, const FuseOptions& model) {
  device.library_contractions = model.library_contractions;
  return device;
}

int64_t room_for_values(const Device& device, const ParameterLayout& parameters) {
  const int64_t room = device.free_memory() - 4 * parameters.size() * static_cast<int64_t>(sizeof(float));
  return room - room / 16;
}

int fitting_recompute(const Graph& source, PipelineOptions options, const Bindings& sizes, const Target& target,
                      int64_t bytes) {
  const Device& device = target.device();
  const trace::Span span("compile", "choose what to compute again");
  options.fuse = device_options(device.fuse_options(), options.fuse);
  const auto fits = [&](int parts) {
    options.recompute = parts;
    const TunedPipeline made = tuned_pipeline(source, options, sizes, device.kind(), target.tuned());
    const Graph& fused = made.result.graph;
    const CodeNote note(fused, made.options, "kernels", device.kind());
    return planned_arena_bytes(fused, device.kind(), target.scheduler(sizes), sizes, options.narrow_parameters) <= bytes;
  };
  if (fits(0)) return 0;
  int low = 1, high = recomputable_parts(source, options.loss);
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (fits(middle)) high = middle;
    else low = middle + 1;
  }
  return high;
}

std::unique_ptr<Program> compile_kernels(Graph fused, const PipelineOptions& options,
                                         const Program::Scheduler& schedule, Device& device) {
  // Code for GPUs is compiled by others, too, whose failures only the whole command shows.
  if (device.kind() == DeviceKind::gpu) return std::make_unique<Program>(std::move(fused), schedule, device);
  const CodeNote note(fused, options, "llvm", device.kind());
  return std::make_unique<Program>(std::move(fused), schedule, device);
}

std::unique_ptr<Compiled> compile(const Graph& source, const PipelineOptions& options, const Bindings& sizes,
                                  const Target& target, const Program::Scheduler& schedule) {
  Device& device = target.device();
  const trace::Span span("compile", fmt::format("compile {} for {}", source.name, name_of(options.kind)));
  PipelineOptions fitting = options;
  fitting.fuse = device_options(device.fuse_options(), options.fuse);
  TunedPipeline made = tuned_pipeline(source, fitting, sizes, device.kind(), target.tuned());
  auto compiled = std::make_unique<Compiled>();
  notice_untuned(target, made.result.graph, sizes);
  compiled->program = compile_kernels(std::move(made.result.graph), made.options,
                                      schedule ? schedule : target.scheduler(sizes), device);
  compiled->remarks = std::move(made.result.remarks);
  ExecutableOptions how;
  how.constant_parameters = options.narrow_parameters;  // of graphs that do not train
  how.first_choice_instead = !schedule;
  if (trace::listening()) how.labels = kernel_labels(compiled->program->graph(), sizes);
  compiled->executable = compiled->program->instantiate(sizes, how);
  return compiled;
}

}  // namespace mambac::tools
