#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/generate.h"
#include "runtime/memory_use.h"
#include "runtime/parameters.h"
#include "runtime/progress.h"
#include "tools/arguments.h"
#include "tools/byte_model.h"
#include "tools/commands.h"
#include "tools/device_option.h"
#include "tools/trace_option.h"
#include "tools/work_notes.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription = R"(Goes on writing a text, byte after byte, with a state of constant size.

  mambac generate run --prompt "The " --bytes 400
  mambac generate run --prompt "A" --prompt "B" --bytes 100 --temperature 0.8 --top-p 0.95 --seed 7
  mambac generate run --prompt-file start.txt --bytes 1000000 > out.txt
  head -c 1000 book.txt | mambac generate run --prompt-file -

The prompt goes through the parallel graph in chunks, then every byte through the step graph. One prompt is written to
standard output as it comes, the prompt itself not; several are written one after the other, each after a line '==> N'.)";

constexpr int64_t kMostRows = 16;

struct Arguments {
  std::string checkpoint, prompt_file, dtype, device, tuned;
  std::vector<std::string> prompts;
  GenerateOptions options;
  int64_t chunk = 256;
  TraceArguments trace;
  bool json = false;
};

std::vector<std::string> read_prompts(const Arguments& arguments) {
  std::vector<std::string> prompts = arguments.prompts;
  if (arguments.prompt_file == "-")
    prompts.emplace_back(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  else if (!arguments.prompt_file.empty())
    prompts.push_back(read_file(arguments.prompt_file));
  if (prompts.empty()) prompts.emplace_back();
  return prompts;
}

/// The compiled model with its weights.
struct Writer {
  std::unique_ptr<Compiled> prefill, step, sampler;  // the host draws without a sampler
  std::optional<Weights> weights;
  size_t planned_bytes = 0;
};

Writer make_writer(const Checkpoint& checkpoint, DType storage, int64_t rows, int64_t chunk, const Target& target) {
  const Graph source = source_graph(checkpoint.model, GraphKind::step);
  check_reads_bytes(source);
  Writer writer;
  const Bindings sizes{{"B", rows}, {"L", std::max<int64_t>(chunk, 1)}};
  writer.step = compile(source, options_for(GraphKind::step, storage, sizes), sizes, target);
  const SafetensorsFile file(checkpoint.weights);
  writer.weights.emplace(file, weight_ports(**writer.step), target.device());
  writer.weights->bind(**writer.step);
  writer.planned_bytes = writer.weights->bytes() + (**writer.step).planned_bytes();
  if (!target.device().memory_is_host()) {
    const Graph sampling = inference_graph(load_model("sampling"));
    writer.sampler = compile(sampling, options_for(GraphKind::eval, DType::f32, sizes), {{"B", rows}}, target);
    writer.planned_bytes += (**writer.sampler).planned_bytes();
  }
  if (chunk == 0) return writer;
  writer.prefill = compile(source, options_for(GraphKind::prefill, storage, sizes), sizes, target);
  writer.weights->bind(**writer.prefill);
  writer.planned_bytes += (**writer.prefill).planned_bytes();
  return writer;
}

/// Where recurrences of the model do not start with 0, the state before the first byte.
void begin(State& state, const Checkpoint& checkpoint, DType storage, const Bindings& sizes, const Target& target) {
  const Graph source = source_graph(checkpoint.model, GraphKind::step);
  const Graph first = first_state(source, options_for(GraphKind::step, storage, sizes));
  if (first.outputs().empty()) return;
  const auto compiled = compile(first, options_for(GraphKind::eval, storage, sizes), sizes, target);
  const Weights weights(SafetensorsFile(checkpoint.weights), weight_ports(**compiled), target.device());
  weights.bind(**compiled);
  state.begin_with(**compiled);
}

/// Text for JSON: bytes that are no UTF-8 are replaced when it is printed.
void report_json(const std::vector<std::string>& prompts, const std::vector<std::string>& written, double seconds,
                 size_t planned, std::optional<int64_t> used) {
  Json texts = Json::array();
  int64_t bytes = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    texts.push_back({{"prompt", prompts[i]}, {"text", written[i]}});
    bytes += static_cast<int64_t>(written[i].size());
  }
  print_json({{"texts", texts},
              {"bytes", bytes},
              {"seconds", seconds},
              {"bytes_per_second", static_cast<double>(bytes) / seconds},
              {"planned_bytes", planned},
              {"used_bytes", used ? Json(*used) : Json()},
              {"peak_resident_bytes", memory_use().peak_resident}});
}

void run_generate(const Arguments& arguments) {
  note_seed("generate", arguments.options.seed);
  check_options(arguments.options.sampling);
  const ChosenDevice device(arguments.device, arguments.tuned);
  const std::vector<std::string> prompts = read_prompts(arguments);
  const Checkpoint checkpoint = load_checkpoint(arguments.checkpoint);
  const DType storage = arguments.dtype.empty() ? checkpoint.options.storage : storage_named(arguments.dtype);
  const int64_t rows = std::min(static_cast<int64_t>(prompts.size()), kMostRows);
  size_t longest = 0;
  for (const std::string& prompt : prompts) longest = std::max(longest, prompt.size());
  const bool parallel = arguments.chunk > 0 && static_cast<int64_t>(longest) >= arguments.chunk;
  const Writer writer = make_writer(checkpoint, storage, rows, parallel ? arguments.chunk : 0, device.target());
  const MemoryUse before = memory_use();
  const auto if_any = [](const std::unique_ptr<Compiled>& compiled) { return compiled ? &**compiled : nullptr; };
  Generator generator(if_any(writer.prefill), **writer.step, if_any(writer.sampler));
  begin(generator.state(), checkpoint, storage, {{"B", rows}}, device.target());

  const bool stream = prompts.size() == 1 && !arguments.json;
  std::vector<std::string> written(prompts.size());
  int64_t bytes = 0;
  const auto on_byte = [&](size_t prompt, uint8_t byte) {
    ++bytes;
    if (!stream) {
      written[prompt].push_back(static_cast<char>(byte));
      return true;
    }
    std::fputc(byte, stdout);
    return std::fflush(stdout) == 0;  // a closed pipe ends the writing
  };
  const auto begin = std::chrono::steady_clock::now();
  generator.stream(prompts, arguments.options, on_byte);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  const size_t planned = writer.planned_bytes + 2 * generator.state().bytes();
  std::optional<int64_t> used;
  if (device->memory_is_host())
    used = memory_use().anonymous - before.anonymous + static_cast<int64_t>(writer.weights->bytes());
  if (arguments.json) return report_json(prompts, written, seconds.count(), planned, used);
  if (!stream) {
    for (size_t i = 0; i < written.size(); ++i) {
      fmt::print("==> {}\n", i + 1);
      std::fwrite(written[i].data(), 1, written[i].size(), stdout);
      fmt::print("\n");
    }
  }
  talk(fmt::format("{}{} bytes in {:.1f} s, {}/s; memory: planned {}{}", stream ? "\n" : "", bytes,
                   seconds.count(), byte_text(static_cast<double>(bytes) / seconds.count()),
                   byte_text(static_cast<double>(planned)), used_text(used, arguments.device)));
}

}  // namespace

void add_generate(Command app) {
  const Command command = app.add_command("generate", kDescription);
  auto arguments = std::make_shared<Arguments>();
  command.add_option("CHECKPOINT", arguments->checkpoint, "folder written by 'mambac train'")
      .required()
      .type_name("");
  command.add_option("--prompt", arguments->prompts, "the text to go on from; may be given several times")
      .repeatable().type_name("TEXT");
  command.add_option("--prompt-file", arguments->prompt_file, "the same from a file; '-' is standard input");
  command.add_option("--bytes", arguments->options.bytes, "how many to write").none_or_more().show_default();
  command.add_option("--seed", arguments->options.seed, "of the random numbers").show_default();
  command.add_option("--temperature", arguments->options.sampling.temperature, "0: always the likeliest byte")
      .show_default();
  command.add_option("--top-k", arguments->options.sampling.top_k, "only the so many likeliest; 0: all")
      .show_default();
  command.add_option("--top-p", arguments->options.sampling.top_p, "only the likeliest that sum to so much")
      .show_default();
  command.add_option("--chunk", arguments->chunk, "bytes of the prompt taken at once; 0: one by one")
      .none_or_more()
      .show_default();
  command.add_option("--dtype", arguments->dtype, "f32 or bf16; default: that of training").type_name("");
  add_device(command, arguments->device);
  add_tuned(command, arguments->tuned);
  add_trace(command, arguments->trace);
  add_json(command, arguments->json);
  command.callback([arguments] { traced(arguments->trace, "generate", [&] { run_generate(*arguments); }); });
}

}  // namespace mambac::tools
