#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "codegen/lower.h"
#include "ir/error.h"
#include "runtime/cpu_info.h"
#include "runtime/progress.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/compile.h"
#include "tools/gpu_cost.h"
#include "tools/kernel_work.h"
#include "tools/paper_flops.h"
#include "tools/schedule_option.h"
#include "tools/work_notes.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription =
    R"(What a model costs: parameters, operations, bytes and planned memory, in all and per fused kernel.

  mambac cost mambabyte:353m --set B=1 L=8192
  mambac cost mambabyte:353m --set B=1 L=8192 --graph train --dtype bf16 --json
  mambac cost mambabyte:353m --set B=8 L=8192 --graph train --dtype bf16 --device cuda:sm_90 --gpu h200

flops_per_byte counts the forward pass as the MambaByte papers do: 2 for each multiply-add of a contraction (the head
left out), 1 for each product with a state, element of a scan, term of a sum over states and gate; nothing for
exponentials, activations, norms, biases, skips and residuals. For mambabyte:353m that is 713,025,536.
The other figures are of the compiled graph: each op's arithmetic by the op table, each value in memory read once by
each kernel that needs it and written once.

With --device the kernels are those of an NVIDIA GPU, which is not needed. Issue slots (instructions of threads) and
those for the special-function unit (MUFU) are counted in the machine code, by nvdisasm where it is found. The times are
the least that a GPU needs for the bytes, the arithmetic and the slots, and what it is that takes them.)";

struct Arguments {
  ModelArguments model;
  std::string graph = "prefill", dtype = "f32", device, gpu;
  int recompute = 0;
  std::vector<std::string> schedule;
  bool json = false;
};

struct Memory {
  double parameters = 0, inputs = 0, outputs = 0, arena = 0;
  double total() const { return parameters + inputs + outputs + arena; }
};

Json memory_json(const Memory& memory) {
  return {{"parameter_bytes", whole(memory.parameters)},
          {"input_bytes", whole(memory.inputs)},
          {"output_bytes", whole(memory.outputs)},
          {"arena_bytes", whole(memory.arena)}};
}

void print_memory(const Memory& memory, const Bindings& sizes) {
  std::string at;
  for (const auto& [name, size] : sizes) at += fmt::format(" {}={}", name, size);
  fmt::print("planned memory   {} at{}: parameters {}, inputs {}, outputs {}, between kernels {}\n\n",
             byte_text(memory.total()), at, byte_text(memory.parameters), byte_text(memory.inputs),
             byte_text(memory.outputs), byte_text(memory.arena));
}

struct CostReport {
  double parameters = 0;
  double flops_per_byte = 0;
  Memory memory;
  std::vector<KernelWork> kernels;
};

Memory planned_memory(const Graph& fused, DeviceKind kind, const Program::Scheduler& scheduler, const Bindings& sizes,
                      bool constant_parameters) {
  Memory memory;
  memory.arena = static_cast<double>(planned_arena_bytes(fused, kind, scheduler, sizes, constant_parameters));
  const auto bytes = [&](const Type& type) {
    return static_cast<double>(elements_of(fused, type, sizes)) * static_cast<double>(bytes_of(type.dtype));
  };
  for (const Node& node : fused.nodes()) {
    if (node.op == Op::Param) memory.parameters += bytes(node.type);
    if (node.op == Op::Input) memory.inputs += bytes(node.type);
  }
  for (const Output& output : fused.outputs()) memory.outputs += bytes(fused.node(output.value).type);
  return memory;
}

CostReport make_report(const Model& model, const PipelineOptions& options, const Bindings& sizes) {
  CostReport report;
  const Graph forward = instantiate(model);
  for (const Node& node : forward.nodes())
    if (node.op == Op::Param) report.parameters += static_cast<double>(elements_of(forward, node.type, sizes));
  report.flops_per_byte = paper_flops_per_position(forward, sizes);
  const Graph fused = noted_pipeline(source_graph(model, options.kind), options).graph;
  report.kernels = kernel_work(fused, sizes);
  report.memory = planned_memory(fused, DeviceKind::cpu, schedules_of(cpu_device()), sizes, options.narrow_parameters);
  return report;
}

KernelWork sum_of(const std::vector<KernelWork>& kernels) {
  KernelWork sum;
  for (const KernelWork& kernel : kernels) {
    sum.flops += kernel.flops;
    sum.exponentials += kernel.exponentials;
    sum.bytes_read += kernel.bytes_read;
    sum.bytes_written += kernel.bytes_written;
  }
  return sum;
}

Json work_json(const KernelWork& work) {
  return {{"flops", whole(work.flops)},
          {"exponentials", whole(work.exponentials)},
          {"bytes_read", whole(work.bytes_read)},
          {"bytes_written", whole(work.bytes_written)}};
}

void print_report_json(const CostReport& report, const std::string& graph, const std::string& dtype,
                       const Bindings& sizes) {
  Json json = {{"parameters", whole(report.parameters)},
               {"flops_per_byte", whole(report.flops_per_byte)},
               {"graph", graph},
               {"dtype", dtype},
               {"sizes", sizes}};
  json.update(work_json(sum_of(report.kernels)));
  json["planned_bytes"] = whole(report.memory.total());
  json["memory"] = memory_json(report.memory);
  json["kernels"] = Json::array();
  for (const KernelWork& kernel : report.kernels) {
    Json one = {{"name", kernel.name}, {"library", kernel.library}};
    one.update(work_json(kernel));
    json["kernels"].push_back(one);
  }
  print_json(json);
}

void print_line(const KernelWork& work, const std::string& name) {
  fmt::print("{:>12}{:>12}{:>12}{:>12}  {}\n", scaled(work.flops), scaled(work.exponentials),
             byte_text(work.bytes_read), byte_text(work.bytes_written), name);
}

void print_report(const CostReport& report, const std::string& graph, const Bindings& sizes) {
  fmt::print("parameters       {:.0f}\n", report.parameters);
  fmt::print("FLOPs per byte   {:.0f} forward, as the papers count\n", report.flops_per_byte);
  print_memory(report.memory, sizes);
  fmt::print("{:>12}{:>12}{:>12}{:>12}\n", "FLOPs", "exp, log", "read", "written");
  print_line(sum_of(report.kernels), fmt::format("the {} graph, {} kernels", graph, report.kernels.size()));
  for (const KernelWork& kernel : report.kernels) print_line(kernel, kernel.name);
}

void run_gpu_cost(const Arguments& arguments, const Selection& selection, const PipelineOptions& options) {
  const std::string architecture = architecture_named(arguments.device);
  const std::vector<Gpu> gpus = gpus_for(architecture, arguments.gpu);
  const Graph fused = noted_pipeline(source_graph(selection.model, options.kind), for_gpu(options)).graph;
  const ScheduleSettings settings(DeviceKind::gpu, default_gpu_schedule, arguments.schedule);
  const GpuCost cost = gpu_cost(fused, options.kind, selection.sizes, architecture, settings.scheduler());
  const Memory memory = planned_memory(fused, DeviceKind::gpu, settings.scheduler(), selection.sizes,
                                       options.narrow_parameters);
  settings.check_used();
  if (!arguments.json) {
    print_memory(memory, selection.sizes);
    return print_gpu_cost(cost, gpus);
  }
  Json json = {{"graph", arguments.graph}, {"dtype", arguments.dtype}, {"sizes", selection.sizes}};
  json["planned_bytes"] = whole(memory.total());
  json["memory"] = memory_json(memory);
  json.update(gpu_cost_json(cost, gpus));
  print_json(json);
}

void run_cost(const Arguments& arguments) {
  Selection selection = select_model(arguments.model.spec, arguments.model.settings);
  selection.sizes.emplace("B", 1);
  selection.sizes.emplace("L", 1024);
  PipelineOptions options =
      options_for(kind_named(arguments.graph), storage_named(arguments.dtype), selection.sizes);
  options.recompute = checked_recompute(arguments.recompute, options.kind, source_graph(selection.model, options.kind));
  if (!arguments.device.empty()) return run_gpu_cost(arguments, selection, options);
  const CostReport report = make_report(selection.model, options, selection.sizes);
  if (arguments.json) print_report_json(report, arguments.graph, arguments.dtype, selection.sizes);
  else print_report(report, arguments.graph, selection.sizes);
}

}  // namespace

void add_cost(Command app) {
  const Command command = app.add_command("cost", kDescription);
  auto arguments = std::make_shared<Arguments>();
  add_model(command, arguments->model);
  command.add_option("--graph", arguments->graph, "train, prefill, step or eval")
      .show_default()
      .type_name("");
  command.add_option("--dtype", arguments->dtype, "f32 or bf16").show_default().type_name("");
  add_recompute(command, arguments->recompute);
  const Option device = command.add_option("--device", arguments->device, "an architecture: cuda:sm_90");
  device.type_name("");
  command.add_option("--gpu", arguments->gpu, "with --device: h200 or another described GPU; without, all that are "
                                              "described of the architecture")
      .needs(device)
      .type_name("");
  add_schedule(command, arguments->schedule).needs(device);
  add_json(command, arguments->json);
  command.callback([arguments] { run_cost(*arguments); });
}

}  // namespace mambac::tools
