#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "codegen/cuda/cuda_emit.h"
#include "codegen/loop_writer.h"
#include "ir/error.h"
#include "ir/step.h"
#include "runtime/atomic_file.h"
#include "runtime/cuda/kernel_source.h"
#include "runtime/progress.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/compile.h"
#include "tools/cuda_kernels.h"
#include "tools/schedule_option.h"

namespace mambac::tools {
namespace {

using cuda::KernelUse;

constexpr const char* kDescription =
    R"(Compiles a model's kernels for an NVIDIA GPU, without one: sources, machine code and an index of them.

  mambac compile mambabyte:353m --device cuda:sm_90 --out kernels
  mambac compile my.mb --device cuda:sm_80 --out kernels --graph step --dtype bf16 --set B=1

Writes NAME.cu and NAME.cubin for every kernel, and index.json, which says what each is called with. Layers share
kernels, and so do graphs. Of --graph all, graphs are left out that a definition does not have: a scan from the end has
no step. Needs NVRTC, and neither a GPU nor a driver; what was compiled before comes from the cache
('mambac cache').)";

struct Arguments {
  ModelArguments model;
  std::string device, out, graph = "all", dtype = "f32";
  std::vector<std::string> schedule;
  bool json = false;
};

std::vector<GraphKind> kinds_named(const std::string& text) {
  if (text == "all") return {GraphKind::train, GraphKind::prefill, GraphKind::step, GraphKind::eval};
  if (const auto kind = graph_kind_from(text)) return {*kind};
  throw InputError(fmt::format("the kind of graph: found '{}', expected train, prefill, step, eval or all", text));
}

/// The most that a stage has of something.
int most(const CudaKernel& kernel, int KernelUse::*part) {
  int found = 0;
  for (const KernelUse& use : kernel.code.kernels) found = std::max(found, use.*part);
  return found;
}

int spilled(const CudaKernel& kernel) {
  int bytes = 0;
  for (const KernelUse& use : kernel.code.kernels) bytes += use.spill_stores + use.spill_loads;
  return bytes;
}

/// Writes expressions of sizes by their names.
class SizeWriter : public loop::LoopWriter {
 public:
  SizeWriter(std::string& unused, const loop::Kernel& kernel) : LoopWriter(unused), names_(kernel.sizes) {}

 private:
  std::string size(size_t number) const override { return names_.at(number); }

  const std::vector<std::string>& names_;
};

std::string text_of(const loop::Int& number, const loop::Kernel& kernel) {
  std::string unused;
  return SizeWriter(unused, kernel).str(number);
}

Json stage_json(const CudaKernel& kernel, size_t number) {
  const loop::Stage& stage = kernel.loops.stages[number];
  const std::string symbol = cuda_emit::stage_symbol(kernel.loops, number);
  const KernelUse& use = use_of(kernel, symbol);
  return {{"symbol", symbol},
          {"blocks", text_of(stage.tasks, kernel.loops)},
          {"threads", threads_of(kernel.loops, stage)},
          {"registers", use.registers},
          {"spill_store_bytes", use.spill_stores},
          {"spill_load_bytes", use.spill_loads},
          {"local_bytes", use.stack},
          {"shared_bytes", use.shared},
          {"constant_bytes", use.constant}};
}

Json kernel_json(const CudaKernel& kernel) {
  Json stages = Json::array(), buffers = Json::array(), launches = Json::object();
  for (size_t i = 0; i < kernel.loops.stages.size(); ++i) stages.push_back(stage_json(kernel, i));
  for (const loop::Buffer& buffer : kernel.loops.buffers)
    buffers.push_back({{"name", buffer.name}, {"dtype", name_of(buffer.dtype)}, {"written", buffer.written}});
  for (const auto& [kind, count] : kernel.launches) launches[std::string(name_of(kind))] = count;
  return {{"name", kernel.name},
          {"source", kernel.name + ".cu"},
          {"cubin", kernel.name + ".cubin"},
          {"schedule", kernel.loops.schedule.str()},
          {"launches", launches},
          {"buffers", buffers},
          {"sizes", kernel.loops.sizes},
          {"stages", stages}};
}

Json index_json(const CudaKernels& kernels, const std::string& architecture, const Arguments& arguments,
                const Bindings& sizes) {
  Json list = Json::array();
  for (const CudaKernel& kernel : kernels.all()) list.push_back(kernel_json(kernel));
  return {{"model", arguments.model.spec},
          {"architecture", architecture},
          {"nvrtc", cuda::Nvrtc::instance().version()},
          {"dtype", arguments.dtype},
          {"sizes", sizes},
          {"kernels", list}};
}

/// The index last: where it is, all that it names is.
void write_all(const CudaKernels& kernels, const std::string& architecture, const Json& index,
               const std::filesystem::path& folder) {
  for (const CudaKernel& kernel : kernels.all()) {
    write_file(folder / (kernel.name + ".cu"), cuda::request_for(kernel.name, kernel.text, architecture).source);
    write_file(folder / (kernel.name + ".cubin"), kernel.code.cubin);
  }
  write_file(folder / "index.json", index.dump(2) + "\n");
}

void make_folder(const std::string& out) {
  std::error_code error;
  std::filesystem::create_directories(out, error);
  if (error) throw EnvironmentError(fmt::format("cannot make the folder '{}': {}", out, error.message()));
}

int launches_of(const CudaKernel& kernel) {
  int launches = 0;
  for (const auto& [kind, count] : kernel.launches) launches += count;
  return launches;
}

void print_table(const CudaKernels& kernels, const CompileSummary& summary, const std::string& architecture,
                 const std::string& out) {
  fmt::print("{:>9}{:>10}{:>10}{:>10}{:>10}\n", "launches", "registers", "spilled", "local", "shared");
  int launches = 0, spilling = 0;
  for (const CudaKernel& kernel : kernels.all()) {
    launches += launches_of(kernel);
    spilling += spilled(kernel) > 0;
    fmt::print("{:>9}{:>10}{:>10}{:>10}{:>10}  {}\n", launches_of(kernel), most(kernel, &KernelUse::registers),
               byte_text(spilled(kernel)), byte_text(most(kernel, &KernelUse::stack)),
               byte_text(most(kernel, &KernelUse::shared)), kernel.name);
  }
  fmt::print("{} kernels for {} launches; {} spill registers\n", kernels.all().size(), launches,
             spilling == 0 ? std::string("none") : std::to_string(spilling));
  fmt::print("for {} by NVRTC {} in {:.1f} s on {} threads, {} from the cache; in {}\n", architecture,
             cuda::Nvrtc::instance().version(), summary.seconds, omp_get_max_threads(), summary.from_cache, out);
}

/// A graph that was asked for by name must be there; of all, those are left out that the definition does not have.
void add_graphs(CudaKernels& kernels, const std::vector<GraphKind>& kinds, const Selection& selection, DType storage) {
  for (const GraphKind kind : kinds) {
    try {
      kernels.add(graph_for_gpu(selection.model, kind, storage, selection.sizes), kind);
    } catch (const NoStepForm& none) {
      if (kinds.size() == 1) throw;
      talk(fmt::format("mambac: the {} graph is left out: {}", name_of(kind), none.what()));
    }
  }
}

void run_compile(const Arguments& arguments) {
  const std::string architecture = architecture_named(arguments.device);
  const std::vector<GraphKind> kinds = kinds_named(arguments.graph);
  const DType storage = storage_named(arguments.dtype);
  const Selection selection = select_model(arguments.model.spec, arguments.model.settings);
  const ScheduleSettings settings(DeviceKind::gpu, default_gpu_schedule, arguments.schedule);
  cuda::Nvrtc::instance();  // what is missing is said before anything is written
  CudaKernels kernels(settings.scheduler());
  add_graphs(kernels, kinds, selection, storage);
  settings.check_used();
  make_folder(arguments.out);
  const CompileSummary summary = compile_all(kernels, architecture);
  Json index = index_json(kernels, architecture, arguments, selection.sizes);
  write_all(kernels, architecture, index, arguments.out);
  if (!arguments.json) return print_table(kernels, summary, architecture, arguments.out);
  index["seconds"] = summary.seconds;
  index["from_cache"] = summary.from_cache;
  print_json(index);
}

}  // namespace

void add_compile(Command app) {
  const Command command = app.add_command("compile", kDescription);
  auto arguments = std::make_shared<Arguments>();
  add_model(command, arguments->model);
  command.add_option("--device", arguments->device, "the architecture: cuda:sm_90").required().type_name("");
  command.add_option("--out", arguments->out, "the folder to write to").required().type_name("DIR");
  command.add_option("--graph", arguments->graph, "train, prefill, step, eval or all")
      .show_default()
      .type_name("");
  command.add_option("--dtype", arguments->dtype, "f32 or bf16").show_default().type_name("");
  add_schedule(command, arguments->schedule);
  add_json(command, arguments->json);
  command.callback([arguments] { run_compile(*arguments); });
}

}  // namespace mambac::tools
