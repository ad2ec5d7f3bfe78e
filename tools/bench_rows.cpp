#include <fmt/format.h>

#include "frontend/model.h"
#include "tools/bench.h"

namespace mambac::tools {
namespace {

constexpr const char* kScan = R"(
free B, L

model scan_row<D = 1536, N = 16>(dt: [B, L, D], u: [B, L, D], rate: [D, N], gain: [B, L, N], read: [B, L, N], skip: [D])
    -> [B, L, D] {
  h = scan<L>(exp(dt * rate), dt * gain * u)
  return y = sum<N>(h * read) + skip * u
}
)";

constexpr const char* kLayer = R"(
import "mamba.mb"
free B, L

model layer<E = 768, D = 2 * E, N = 16, K = 4, R = ceil(E / 16), layers = 24>(x: [B, L, E]) -> [B, L, E] {
  return y = x + mixer<E, D, N, K, R, layers>(rms_norm<E>(x))
}
)";

constexpr const char* kLanguageModel = "mamba-lm:130m";
constexpr int64_t kVocabulary = 50280, kBytes = 256;

const Bindings kShort{{"B", 1}, {"L", 512}}, kLong{{"B", 1}, {"L", 2048}};
const Bindings kEight{{"B", 8}, {"L", 2048}}, kEightLong{{"B", 8}, {"L", 8192}};

BenchPart make_part(const Graph& source, const PipelineOptions& options, const Bindings& sizes,
                    const BenchTarget& target) {
  BenchPart part{compile(source, options, sizes, target.target,
                         target.settings.scheduler(target.target.scheduler(sizes))),
                 {}};
  part.work = kernel_work(part.compiled->program->graph(), sizes);
  return part;
}

int64_t tokens_of(const Bindings& sizes) {
  int64_t tokens = 1;
  for (const auto& [name, size] : sizes) tokens *= size;
  return tokens;
}

/// A row of one executable whose inputs are all filled.
PreparedRow make_row(const Graph& source, const PipelineOptions& options, const Bindings& sizes,
                     const BenchTarget& target, const Filling& filling = {}) {
  PreparedRow row;
  row.tokens = tokens_of(sizes);
  row.parts.push_back(make_part(source, options, sizes, target));
  Executable& executable = **row.parts[0].compiled;
  row.memory.bind(executable);
  fill_inputs(row.parts[0].compiled->program->graph(), executable, row.memory, filling);
  return row;
}

PreparedRow scan_row(const BenchTarget& target) {
  const Bindings sizes{{"B", 1}, {"L", 2048}};
  Filling filling;
  filling.ranges = {{"dt", {0.001, 0.1}}, {"rate", {-16, -1}}};
  return make_row(instantiate(model_from_text(kScan, "scan")), options_for(GraphKind::eval, DType::f32, sizes), sizes,
                  target, filling);
}

PreparedRow layer_row(const BenchTarget& target, bool backward) {
  PipelineOptions options = options_for(backward ? GraphKind::train : GraphKind::eval, DType::bf16, kLong);
  options.seeds = backward;
  options.narrow_parameters = !backward;
  return make_row(instantiate(model_from_text(kLayer, "layer")), options, kLong, target);
}

/// The training graph of a model that is cut down to its first layer, without the optimiser.
PreparedRow one_layer_row(const BenchTarget& target, const std::string& name, const Bindings& sizes,
                          int64_t vocabulary) {
  Model model = load_model(name);
  set(model, {{"layers", 1}});
  Filling filling;
  filling.below = vocabulary;
  return make_row(with_output(training_graph(model), "loss"), options_for(GraphKind::train, DType::bf16, sizes), sizes,
                  target, filling);
}

PreparedRow prefill_row(const BenchTarget& target) {
  const Bindings sizes{{"B", 1}, {"L", 2048}};
  Filling filling;
  filling.below = kVocabulary;
  return make_row(instantiate(load_model(kLanguageModel)), options_for(GraphKind::prefill, DType::bf16, sizes), sizes,
                  target, filling);
}

PreparedRow decode_row(const BenchTarget& target, const std::string& model, DType storage, int64_t batch,
                       int64_t vocabulary) {
  const Bindings sizes{{"B", batch}};
  Filling filling;
  filling.below = vocabulary;
  PreparedRow row = make_row(instantiate(load_model(model)), options_for(GraphKind::step, storage, sizes), sizes,
                             target, filling);
  const Graph& graph = row.parts[0].compiled->program->graph();
  for (const Node& node : graph.nodes())
    if (node.op == Op::Param)
      row.weight_bytes += static_cast<double>(elements_of(graph, node.type, sizes)) *
                          static_cast<double>(bytes_of(node.type.dtype));
  return row;
}

DeviceSpan<float> floats(const PortMemory& memory, const std::string& name) {
  const DeviceSpan<char>& bytes = memory.at(name);
  return {bytes.device(), reinterpret_cast<float*>(bytes.data()), bytes.size() / static_cast<int64_t>(sizeof(float))};
}

/// The update of the parameters from the place `first` on.
void bind_update(Executable& update, PortMemory& memory, int64_t first) {
  const auto rest = [&](const std::string& name) {
    const DeviceSpan<float> whole = floats(memory, name);
    return whole.part(first, whole.size() - first);
  };
  for (const char* name : {"param", "grad", "m", "v"}) bind_memory(update, name, rest(name));
  for (const char* name : {"param", "m", "v"}) bind_memory(update, fmt::format("{}.next", name), rest(name));
  for (const Port& port : update.inputs())
    if (port.shape.empty()) memory.bind(update, port);
}

/// Gradients, their norm and AdamW, as training runs them.
PreparedRow train_row(const BenchTarget& target, const std::string& name, const Bindings& sizes, int64_t vocabulary) {
  const Model model = load_model(name);
  const Graph training = with_output(training_graph(model), "loss");
  const ParameterLayout layout = layout_of(training);
  const PipelineOptions plain = options_for(GraphKind::eval, DType::f32, {});
  PreparedRow row;
  row.tokens = tokens_of(sizes);
  PipelineOptions options = options_for(GraphKind::train, DType::bf16, sizes);
  options.recompute = fitting_recompute(training, options, sizes, target.target,
                                       room_for_values(target.target.device(), layout));
  row.parts.push_back(make_part(training, options, sizes, target));
  const auto add_optimiser = [&](const char* block, int64_t parameters) {
    row.parts.push_back(make_part(instantiate_block(model, block, {{"P", parameters}}), plain, {}, target));
  };
  add_optimiser("sum_squares", layout.size());
  add_optimiser("adamw", layout.decayed());
  add_optimiser("adamw", layout.size() - layout.decayed());

  Executable& gradients = **row.parts[0].compiled;
  Executable& norm = **row.parts[1].compiled;
  const std::vector<int64_t> shape{layout.size()};
  for (const char* name : {"param", "grad", "m", "v"})
    row.memory.place({{name, DType::f32, shape, layout.size()}}, target.target.device());
  bind_update(**row.parts[2].compiled, row.memory, 0);
  bind_update(**row.parts[3].compiled, row.memory, layout.decayed());
  row.memory.bind(norm);
  for (const Port& port : gradients.inputs())
    if (layout.find(port.name) < 0) row.memory.bind(gradients, port);
  for (const Port& port : gradients.outputs())
    if (!port.name.starts_with("grad.")) row.memory.bind(gradients, port);
  layout.bind(gradients, floats(row.memory, "param"));
  layout.bind_gradients(gradients, floats(row.memory, "grad"));

  Filling filling;
  filling.below = vocabulary;
  filling.ranges = {{"param", {0, 0}},   {"grad", {0, 0}},     {"m", {0, 0}},         {"v", {0, 0}},
                    {"lr", {1e-4, 1e-4}}, {"weight_decay", {0.1, 0.1}}, {"beta1", {0.9, 0.9}},
                    {"beta2", {0.95, 0.95}}, {"eps", {1e-8, 1e-8}}, {"step", {1, 1}}, {"scale", {1, 1}}};
  fill_inputs(training, gradients, row.memory, filling);
  fill_inputs(training, **row.parts[2].compiled, row.memory, filling);
  layout.initialise(1, floats(row.memory, "param"));
  return row;
}

void add_decoding(std::vector<BenchRow>& rows, const std::string& model, int64_t vocabulary) {
  const std::string size = model.substr(model.find(':') + 1);
  for (const int64_t batch : {1, 8, 32, 64})
    rows.push_back({fmt::format("decode-{}-b{}", size, batch), fmt::format("{}, one step, bf16, B {}", model, batch), 0,
                    0, [=](const BenchTarget& target) {
                      return decode_row(target, model, DType::bf16, batch, vocabulary);
                    }});
}

std::vector<BenchRow> all_rows() {
  std::vector<BenchRow> rows = {
      {"scan", "the forward walk, f32, L 2048, D 1536, N 16, B 1", 1.3, 1.8, scan_row},
      {"layer-forward", "one layer of mamba-lm:130m, bf16, B 1, L 2048", 1.3, 1.5,
       [](const BenchTarget& target) { return layer_row(target, false); }},
      {"layer-forward-backward", "the same with all gradients", 1.4, 1.7,
       [](const BenchTarget& target) { return layer_row(target, true); }},
      {"train-130m", "mamba-lm:130m, one optimiser step, bf16, B 1, L 512", 1.5, 1.8,
       [](const BenchTarget& target) { return train_row(target, kLanguageModel, kShort, kVocabulary); }},
      {"prefill-130m", "mamba-lm:130m, bf16, B 1, L 2048", 1.4, 1.6, prefill_row},
      {"decode-f32", "mamba-lm:130m, one step, weights in f32, B 1", 1.25, 1.25,
       [](const BenchTarget& target) { return decode_row(target, kLanguageModel, DType::f32, 1, kVocabulary); }},
      {"decode-bf16", "mamba-lm:130m, one step, weights in bf16, B 1", 1.25, 1.25,
       [](const BenchTarget& target) { return decode_row(target, kLanguageModel, DType::bf16, 1, kVocabulary); }},
      {"layer-353m", "mambabyte:353m with one layer, loss and gradients, bf16, B 8, L 8192", 0, 0,
       [](const BenchTarget& target) { return one_layer_row(target, "mambabyte:353m", kEightLong, kBytes); }},
      {"layer-130m", "mamba-lm:130m with one layer, loss and gradients, bf16, B 8, L 2048", 0, 0,
       [](const BenchTarget& target) { return one_layer_row(target, kLanguageModel, kEight, kVocabulary); }},
      {"train-353m-2k", "mambabyte:353m, one optimiser step, bf16, B 8, L 2048", 0, 0,
       [](const BenchTarget& target) { return train_row(target, "mambabyte:353m", kEight, kBytes); }},
      {"train-353m", "mambabyte:353m, one optimiser step, bf16, B 8, L 8192", 0, 0,
       [](const BenchTarget& target) { return train_row(target, "mambabyte:353m", kEightLong, kBytes); }},
  };
  add_decoding(rows, "mambabyte:353m", kBytes);
  add_decoding(rows, "mambabyte:972m", kBytes);
  add_decoding(rows, kLanguageModel, kVocabulary);
  return rows;
}

}  // namespace

const std::vector<BenchRow>& bench_rows() {
  static const std::vector<BenchRow> rows = all_rows();
  return rows;
}

BenchRow model_row(const std::string& name, const Selection& selection, GraphKind kind, DType storage) {
  Bindings sizes = selection.sizes;
  std::string work = fmt::format("{}, {}, {}", name, name_of(kind), name_of(storage));
  for (const auto& [dim, size] : sizes) work += fmt::format(", {} {}", dim, size);
  const auto prepare = [=, model = selection.model](const BenchTarget& target) {
    const Graph whole = source_graph(model, kind);
    const Graph source = kind == GraphKind::train ? with_output(whole, "loss") : whole;
    Filling filling;
    filling.below = integers_below(source);
    return make_row(source, options_for(kind, storage, sizes), sizes, target, filling);
  };
  return {name, work, 0, 0, prepare};
}

}  // namespace mambac::tools
