#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "ir/equal.h"
#include "ir/error.h"
#include "runtime/progress.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/compare_print.h"
#include "tools/compile.h"
#include "tools/device_option.h"
#include "tools/random_inputs.h"
#include "tools/work_notes.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription =
    R"(Runs a model's graph on two devices with the same random numbers and names the first value that is wrong.

  mambac compare mambabyte:tiny
  mambac compare my.mb --graph prefill --dtype bf16 --set B=2 L=64
  mambac compare mambabyte:tiny --devices cuda,reference --json
  mambac compare mambabyte:tiny --devices cpu,cuda-emulated --seed 3

The reference is the interpreter of the op table in float64, which runs the same fused graph; of two other devices each
is held against it. Every value that a kernel leaves in memory is compared with what the reference makes of the values
before it as the device had them, so that an error is seen where it arises; its bound is what the roundings of its ops
may change. Where one is too large, the kernel is run once more with the values within it. Before that, the gradient
rules of a train graph are held against differences, and each pass against the graph that it was given. Exit code 1
when something is wrong, 0 when nothing is.)";

struct Arguments {
  ModelArguments model;
  std::string graph = "train", dtype = "f32", devices;
  uint64_t seed = 0;
  bool json = false;
};

/// What is to be compared.
struct Task {
  std::vector<StageGraph> stages;  // those that changed the graph, the definition's first, the fused one last
  PipelineOptions options;
  Bindings sizes;
  Arrays inputs;

  const Graph& fused() const { return stages.back().graph; }
  /// Of which gradients are taken.
  const Graph& forward() const { return stages[1].graph; }
};

struct NamedDevice {
  std::string name;
  std::unique_ptr<ChosenDevice> device;
};

/// The devices that are no reference.
std::vector<NamedDevice> open_devices(const std::string& pair) {
  std::vector<NamedDevice> devices;
  const auto [first, second] = device_pair(pair);
  for (const std::string& name : {first, second})
    if (name != "reference") devices.push_back({name, std::make_unique<ChosenDevice>(name, "off")});
  return devices;
}

/// " B=2 L=37": of the dimensions that values of the graph have.
std::string sizes_text(const Graph& graph, const Bindings& sizes) {
  std::string text;
  for (const Dim& dim : graph.dims()) {
    const DimId id = *graph.find_dim(dim.name);
    const auto has_it = [&](const Node& node) { return node.type.has(id); };
    if (dim.is_free() && !dim.is_tiles() && std::ranges::any_of(graph.nodes(), has_it))
      text += fmt::format(" {}={}", dim.name, sizes.at(dim.name));
  }
  return text;
}

/// The graph is fused for the first device, and the same for both.
Task make_task(const Arguments& arguments, Device& first) {
  const Selection selection = select_model(arguments.model.spec, arguments.model.settings);
  Task task;
  const GraphKind kind = kind_named(arguments.graph);
  const DType storage = storage_named(arguments.dtype);
  const Graph source = source_graph(selection.model, kind);
  task.sizes = with_default_sizes(source, selection.sizes);
  task.options = options_for(kind, storage, task.sizes);
  task.options.fuse = device_options(first.fuse_options(), task.options.fuse);
  noted_pipeline(source, task.options, [&](std::string_view stage, const Graph& graph) {
    const bool changes = task.stages.size() < 2 || !equal(task.stages.back().graph, graph);
    if (changes) task.stages.push_back({std::string(stage), graph});
  });
  task.inputs = random_inputs(task.fused(), task.sizes, {selection.model.checkpoint, arguments.seed});
  return task;
}

/// Shows how far each part of the work has come.
class Meter {
 public:
  void show(const std::string& what, size_t done, size_t all) {
    if (what != what_) begin_ = std::chrono::steady_clock::now();
    what_ = what;
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin_;
    progress_.update(CountReport{static_cast<int64_t>(done), static_cast<int64_t>(all), what, seconds.count()});
  }
  /// What show() needs of find_wrong_rule and find_wrong_pass.
  std::function<void(size_t)> part(const std::string& what, size_t all) {
    return [this, what, all](size_t done) { show(what, done, all); };
  }

 private:
  Progress progress_ = Progress::on_stderr();
  std::string what_;
  std::chrono::steady_clock::time_point begin_;
};

CompareResult compare(const Task& task, const std::vector<NamedDevice>& devices) {
  Meter meter;
  CompareResult result;
  if (task.options.kind == GraphKind::train)
    result.rule = find_wrong_rule(task.forward(), task.sizes, task.inputs,
                                  meter.part("values: their gradient rules", task.forward().size()));
  if (!result.rule)
    result.pass = find_wrong_pass(task.stages, task.sizes, task.inputs, meter.part("passes", task.stages.size()));
  if (result.rule || result.pass) return result;
  for (const NamedDevice& named : devices) {
    const auto program = compile_kernels(task.fused(), task.options, {}, **named.device);
    const auto progress = [&](const std::string& what, size_t done, size_t all) {
      meter.show(fmt::format("values: {} {}", what, named.name), done, all);
    };
    result.devices.emplace_back(named.name, compare_with_reference(*program, task.sizes, task.inputs,
                                                                   task.options.narrow_parameters, progress));
  }
  return result;
}

void report(const Arguments& arguments, const Task& task, const CompareResult& result) {
  if (arguments.json) {
    Json json = {{"model", arguments.model.spec},
                 {"graph", arguments.graph},
                 {"dtype", arguments.dtype},
                 {"sizes", task.sizes},
                 {"seed", arguments.seed}};
    add_result(result, task.stages, json);
    return print_json(json);
  }
  fmt::print("{}, {} graph, {},{}, seed {}\n", arguments.model.spec, arguments.graph, arguments.dtype,
             sizes_text(task.fused(), task.sizes), arguments.seed);
  print_result(result, task.stages, task.options.kind == GraphKind::train);
}

int run_compare(const Arguments& arguments) {
  const std::vector<NamedDevice> devices = open_devices(arguments.devices);
  const Task task = make_task(arguments, **devices.front().device);
  const CompareResult result = compare(task, devices);
  report(arguments, task, result);
  return result.good() ? kExitGood : kExitInput;
}

}  // namespace

void add_compare(Command app, int& exit_code) {
  const Command command = app.add_command("compare", kDescription);
  auto arguments = std::make_shared<Arguments>();
  add_model(command, arguments->model);
  add_devices(command, arguments->devices);
  command.add_option("--graph", arguments->graph, "train, prefill, step or eval").show_default().type_name("");
  command.add_option("--dtype", arguments->dtype, "f32 or bf16").show_default().type_name("");
  command.add_option("--seed", arguments->seed, "of inputs and initial values").show_default().type_name("");
  add_json(command, arguments->json);
  command.callback([arguments, &exit_code] { exit_code = run_compare(*arguments); });
}

}  // namespace mambac::tools
