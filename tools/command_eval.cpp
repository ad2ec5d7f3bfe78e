#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "runtime/evaluate.h"
#include "runtime/parameters.h"
#include "runtime/progress.h"
#include "tools/arguments.h"
#include "tools/byte_model.h"
#include "tools/commands.h"
#include "tools/device_option.h"
#include "tools/trace_option.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription = R"(Bits per byte and word-level perplexity of a text under a trained model.

  mambac eval run --data valid.txt
  mambac eval run --data valid.txt --context 2048 --stride 512 --json

The text is read in windows of --context bytes that start every --stride bytes; each byte is scored once, by the first
window that reaches it. A smaller stride lets each byte see more of the text before it and takes longer.)";

struct Arguments {
  std::string checkpoint, data, dtype, device, tuned;
  int64_t context = 0, batch = 0, stride = 0;
  TraceArguments trace;
  bool json = false;
};

void run_eval(const Arguments& arguments) {
  const ChosenDevice device(arguments.device, arguments.tuned);
  const Checkpoint checkpoint = load_checkpoint(arguments.checkpoint);
  const int64_t context = arguments.context > 0 ? arguments.context : checkpoint.options.context;
  const int64_t batch = arguments.batch > 0 ? arguments.batch : checkpoint.options.batch;
  const int64_t stride = arguments.stride > 0 ? arguments.stride : std::max<int64_t>(1, context / 2);
  const DType storage = arguments.dtype.empty() ? checkpoint.options.storage : storage_named(arguments.dtype);
  const ByteSource data(arguments.data);

  const Bindings sizes{{"B", batch}, {"L", context}};
  const SourceProgram program = program_of(checkpoint.model, GraphKind::eval, storage, sizes);
  check_scores_bytes(program.source);
  const auto compiled = compile(program.source, program.options, sizes, device.target());
  const Weights weights(SafetensorsFile(checkpoint.weights), weight_ports(**compiled), *device);
  weights.bind(**compiled);

  const bool terminal = isatty(STDERR_FILENO) != 0;
  const double bytes = static_cast<double>(data.bytes());
  const Evaluation result = evaluate(**compiled, data, stride, [&](int64_t scored) {
    if (terminal)
      fmt::print(stderr, "\r\x1b[K{:3.0f}% of {}", 100 * static_cast<double>(scored) / bytes, byte_text(bytes));
  });
  if (terminal) fmt::print(stderr, "\r\x1b[K");
  if (arguments.json) {
    print_json({{"bits_per_byte", result.bits_per_byte},
                {"nats_per_byte", result.nats_per_byte},
                {"word_perplexity", result.word_perplexity},
                {"bytes", result.bytes},
                {"scored_bytes", result.scored_bytes},
                {"words", result.words},
                {"context", context},
                {"stride", stride},
                {"dtype", name_of(storage)},
                {"checkpoint", checkpoint.weights.parent_path().string()}});
    return;
  }
  fmt::print("{:.4f} bits per byte, word-level perplexity {:.2f}\n", result.bits_per_byte, result.word_perplexity);
  fmt::print("{} bytes scored in {} ({} words); context {}, stride {}\n", result.scored_bytes, data.name(),
             result.words, context, stride);
}

}  // namespace

void add_eval(Command app) {
  const Command command = app.add_command("eval", kDescription);
  auto arguments = std::make_shared<Arguments>();
  command.add_option("CHECKPOINT", arguments->checkpoint, "folder written by 'mambac train'")
      .required()
      .type_name("");
  command.add_option("--data", arguments->data, "the text: a file, or all files of a folder").required();
  command.add_option("--context", arguments->context, "bytes in a window; default: that of training")
      .positive();
  command.add_option("--stride", arguments->stride, "bytes from window to window; default: half the context")
      .positive();
  command.add_option("--batch", arguments->batch, "windows at a time; default: that of training")
      .positive();
  command.add_option("--dtype", arguments->dtype, "f32 or bf16; default: that of training").type_name("");
  add_device(command, arguments->device);
  add_tuned(command, arguments->tuned);
  add_trace(command, arguments->trace);
  add_json(command, arguments->json);
  command.callback([arguments] { traced(arguments->trace, "eval", [&] { run_eval(*arguments); }); });
}

}  // namespace mambac::tools
