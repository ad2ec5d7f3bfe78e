#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "frontend/suggest.h"
#include "ir/error.h"
#include "passes/differentiate.h"
#include "passes/precision.h"
#include "passes/simplify.h"
#include "runtime/element_type.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/compile.h"
#include "tools/device_option.h"
#include "tools/index_check.h"
#include "tools/not_finite.h"
#include "tools/port_values.h"
#include "tools/run_data.h"
#include "tools/trace_option.h"
#include "tools/work_notes.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription =
    R"(Evaluates a block on arrays and writes its results, with --grad their gradients as well.

  mambac run my.mb --block mixer --set E=8 --input x=x.npy --out result
  mambac run my.mb --block mixer --set E=8 --input x=x.npy A_log=a.npy --grad --input seed.out=g.npy --out result
  mambac run my.mb --block mixer --set E=8 --input x=x.npy --out truth --device reference

The sizes of free dimensions follow from the arrays. Parameters are inputs, too; those not given are filled by their
initialisers (or from the checkpoint, when FILE is one). Gradients are those of sum(result * seed) over all results;
a seed that is not given is 1. Each result goes to NAME.npy, each gradient to grad.NAME.npy. The reference is the
interpreter of the op table in float64.)";

struct Arguments {
  std::string file, block, out, device, tuned, dtype = "f32";
  std::vector<std::string> inputs, settings;
  bool grad = false, check_nan = false, json = false;
  uint64_t seed = 0;
  TraceArguments trace;
};

/// What is to be evaluated: a block's graph and the sizes that were set.
struct Target {
  Model model;
  const BlockDef* block;  // of the model
  Graph graph;
  Bindings sizes;
};

const BlockDef& block_of(const Model& model, const std::string& name) {
  if (name.empty()) return model.library->main_block();
  if (const BlockDef* block = model.library->find_block(name)) return *block;
  throw InputError(fmt::format("{} has no block '{}'{}", model.library->main_file().name, name,
                               did_you_mean(name, model.library->block_names())));
}

/// Settings that are no static arguments of the block are sizes of free dimensions.
Target make_target(const Arguments& arguments, const std::map<std::string, GivenArray>& given) {
  const Model model = load_model(arguments.file);
  note_model(definition_text(model));
  const BlockDef& block = block_of(model, arguments.block);
  std::map<std::string, int64_t> overrides;
  if (block.name == model.name)
    for (const auto& [name, value] : model.values) overrides[name] = std::llround(value);
  Target target{model, &block, {}, {}};
  for (const auto& [name, value] : parse_settings(arguments.settings)) {
    const bool is_static = std::any_of(block.statics.begin(), block.statics.end(),
                                       [&](const StaticParameter& parameter) { return parameter.name == name; });
    if (is_static) overrides[name] = value;
    else target.sizes[name] = value;
  }
  std::set<std::string> optional;
  for (const BlockInput& input : block.inputs)
    if (input.optional && given.contains(input.name)) optional.insert(input.name);
  target.graph = instantiate_block(model, block.name, overrides, optional);
  for (const auto& [name, value] : target.sizes) {
    const auto dim = target.graph.find_dim(name);
    if (!dim || !target.graph.dim(*dim).is_free())
      throw InputError(fmt::format("--set: '{}' has no static argument and no free dimension '{}'", block.name, name));
  }
  return target;
}

PipelineOptions run_options(const Arguments& arguments) {
  PipelineOptions options =
      options_for(arguments.grad ? GraphKind::train : GraphKind::eval, storage_named(arguments.dtype), {});
  options.seeds = true;
  return options;
}

/// The value with its dimensions in another order.
Array permuted(const Array& from, const Type& type, const std::vector<DimId>& wanted) {
  Array to{{}, std::vector<double>(from.data.size())};
  std::vector<int64_t> stride;
  for (DimId d : wanted) {
    const auto at = static_cast<size_t>(type.position(d));
    to.shape.push_back(from.shape[at]);
    int64_t step = 1;
    for (size_t i = at + 1; i < from.shape.size(); ++i) step *= from.shape[i];
    stride.push_back(step);
  }
  for (size_t i = 0; i < to.data.size(); ++i) {
    auto rest = static_cast<int64_t>(i);
    int64_t place = 0;
    for (size_t k = wanted.size(); k-- > 0; rest /= to.shape[k]) place += rest % to.shape[k] * stride[k];
    to.data[i] = from.data[static_cast<size_t>(place)];
  }
  return to;
}

bool all_finite(const Arrays& arrays) {
  return std::ranges::all_of(arrays, [](const auto& entry) {
    return std::ranges::all_of(entry.second.data, [](double x) { return std::isfinite(x); });
  });
}

[[noreturn]] void refuse_not_finite(const std::string& found) {
  throw InputError(found.empty() ? "results were not finite, but are when the block is run once more" : found);
}

/// In float64, without compiling anything.
Arrays run_reference(const Arguments& arguments, Graph graph, const Bindings& sizes, const Arrays& values) {
  const DType storage = storage_named(arguments.dtype);
  if (storage != DType::f32) graph = lower_precision(simplify(graph, {.drop_stops = true}), storage);
  Arrays results = evaluate(graph, sizes, values, {.round_storage = storage != DType::f32});
  if (arguments.check_nan && !all_finite(results)) refuse_not_finite(find_not_finite(graph, sizes, values));
  for (const Output& output : graph.outputs()) {
    if (!output.name.starts_with("grad.")) continue;
    const std::string target = output.name.substr(5);  // gradients lie in memory as what they belong to
    for (const Node& node : graph.nodes()) {
      if (node.op != Op::Param && node.op != Op::Input) continue;
      if ((node.op == Op::Param ? node.param.checkpoint_name : node.name) != target) continue;
      results[output.name] =
          permuted(results[output.name], graph.node(output.value).type, node.type.dims);
    }
  }
  return results;
}

Arrays run_compiled(const Arguments& arguments, const Graph& graph, const Bindings& sizes, const Arrays& values) {
  check_indices(graph, sizes, values);
  const ChosenDevice device(arguments.device, arguments.tuned);
  const auto compiled = compile(graph, run_options(arguments), sizes, device.target());
  PortMemory memory;
  memory.bind(**compiled);
  fill_inputs(graph, **compiled, memory, values);
  (**compiled).run();
  Arrays results = read_outputs(**compiled, memory);
  if (arguments.check_nan && !all_finite(results))
    refuse_not_finite(find_not_finite(*compiled->program, **compiled, sizes));
  return results;
}

std::string file_name(std::string name) {
  std::replace(name.begin(), name.end(), '/', '_');
  return name + ".npy";
}

void write_results(const Arguments& arguments, const Arrays& results) {
  const std::filesystem::path folder = arguments.out;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw EnvironmentError(fmt::format("cannot make the folder '{}': {}", arguments.out, error.message()));
  Json json = Json::array();
  for (const auto& [name, array] : results) {
    const std::string path = (folder / file_name(name)).string();
    if (arguments.device == "reference") {
      write_npy(path, ElementType::f64, array.shape, array.data.data());
    } else {
      const std::vector<float> floats(array.data.begin(), array.data.end());
      write_npy(path, ElementType::f32, array.shape, floats.data());
    }
    const bool finite = std::all_of(array.data.begin(), array.data.end(), [](double x) { return std::isfinite(x); });
    if (!finite) talk(fmt::format("mambac: warning: {} holds values that are not finite", name));
    json.push_back({{"name", name}, {"shape", array.shape}, {"file", path}, {"finite", finite}});
    if (!arguments.json) fmt::print("{}  {}\n", path, shape_text(array.shape));
  }
  if (arguments.json) print_json(json);
}

void run_block(const Arguments& arguments) {
  note_seed("run", arguments.seed);
  const std::map<std::string, GivenArray> given = read_arrays(arguments.inputs);
  const Target target = make_target(arguments, given);
  // The graph with seeds names all that can be given; the pipeline makes the same from the block's own graph.
  const Graph whole = arguments.grad ? differentiate_with_seeds(simplify(target.graph)) : target.graph;
  check_names(whole, *target.block, given);
  const Bindings sizes = infer_sizes(whole, given, target.sizes);
  const Arrays values = complete_values(whole, sizes, given, {target.model.checkpoint, arguments.seed});
  write_results(arguments, arguments.device == "reference" ? run_reference(arguments, whole, sizes, values)
                                                           : run_compiled(arguments, target.graph, sizes, values));
}

}  // namespace

void add_run(Command app) {
  const Command command = app.add_command("run", kDescription);
  auto arguments = std::make_shared<Arguments>();
  command.add_option("FILE", arguments->file, "definition file, shipped name, or checkpoint folder")
      .required().type_name("");
  command.add_option("--block", arguments->block, "which block; default: the main one");
  add_settings(command, arguments->settings);
  command.add_option("--input", arguments->inputs, "arrays for inputs, parameters and seeds")
      .type_name("NAME=FILE.npy");
  command.add_flag("--grad", arguments->grad, "gradients by all inputs and parameters, too");
  command.add_option("--out", arguments->out, "folder for the results").required().type_name("DIR");
  add_device(command, arguments->device, true);
  add_tuned(command, arguments->tuned);
  command.add_option("--dtype", arguments->dtype, "f32 or bf16").show_default().type_name("");
  command.add_flag("--check-nan", arguments->check_nan,
                   "when a result is not finite, stop and say where the first NaN or infinity is made");
  command.add_option("--seed", arguments->seed, "of initial values").show_default().type_name("");
  add_trace(command, arguments->trace);
  add_json(command, arguments->json);
  command.callback([arguments] { traced(arguments->trace, "run", [&] { run_block(*arguments); }); });
}

}  // namespace mambac::tools
