#include "tools/report.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "codegen/kernel_name.h"
#include "ir/print.h"
#include "runtime/atomic_file.h"
#include "runtime/placement.h"
#include "tools/kernel_set.h"
#include "tools/text_diff.h"

namespace mambac::tools {
namespace {

/// Keeps of each stage what it changed.
class StageTexts {
 public:
  void add(std::string_view name, std::string text) {
    const std::vector<std::string_view> before = lines_of(text_), after = lines_of(text);
    ReportStage stage{std::string(name), reason_of(name), {}};
    for (const Hunk& hunk : hunks(before, after))
      stage.hunks.push_back(
          {hunk.begin_a, hunk.end_a, {after.begin() + offset(hunk.begin_b), after.begin() + offset(hunk.end_b)}});
    if (!stage.hunks.empty()) stages.push_back(std::move(stage));
    text_ = std::move(text);
  }

  const std::string& last() const { return text_; }

  std::vector<ReportStage> stages;

 private:
  static std::ptrdiff_t offset(size_t line) { return static_cast<std::ptrdiff_t>(line); }

  static std::string reason_of(std::string_view name) {
    for (const Stage& stage : pipeline_stages())
      if (stage.name == name) return std::string(stage.reason);
    return "the graph as the definition gives it";
  }

  std::string text_;
};

using Files = std::vector<std::pair<std::string, std::string>>;

int file_of(const Files& files, const Location& where) {
  if (!where.known()) return -1;
  const auto file = std::ranges::find(files, *where.file, &Files::value_type::first);
  return file == files.end() ? -1 : static_cast<int>(file - files.begin());
}

/// `text` is that of the graph: nodes have lines of it in their order, inputs have none.
std::vector<ReportNode> nodes_of(const Graph& fused, const Files& files, const std::string& text) {
  const std::vector<std::string_view> lines = lines_of(text);
  std::vector<ReportNode> nodes;
  size_t next = 0;
  for (uint32_t i = 0; i < fused.size(); ++i) {
    const Node& node = fused.node({i});
    ReportNode made{node.name, std::string(mambac::name_of(node.op)), node.kernel, -1, 0, -1, {}};
    made.file = file_of(files, node.location);
    if (made.file >= 0) made.line = node.location.line;
    for (const NodeId o : node.operands)
      if (o.present()) made.operands.push_back(static_cast<int>(o.index));
    if (node.op != Op::Input) {
      const std::string start = "  " + print_node(fused, {i});
      while (next < lines.size() && !lines[next].starts_with(start)) ++next;
      check(next < lines.size(), "report: a value has no line in the text of its graph");
      made.text = static_cast<int>(next++);
    }
    nodes.push_back(std::move(made));
  }
  return nodes;
}

/// By kernel a number, the same for kernels with the same loops and name in code; for calls of the library, whose names
/// say less, also with the same types.
std::vector<int> alike(const Graph& fused) {
  std::vector<std::string> keys;
  for (int k = 0; k < static_cast<int>(fused.kernels.size()); ++k)
    keys.push_back(kernel_name(fused, k) + " " + loops_text(fused, fused.kernels[static_cast<size_t>(k)]));
  for (const Node& node : fused.nodes())
    if (node.kernel >= 0 && fused.kernels[static_cast<size_t>(node.kernel)].kind == KernelGroup::library)
      keys[static_cast<size_t>(node.kernel)] += " " + type_text(fused, node.type);
  std::map<std::string, int> classes;
  std::vector<int> sequence;
  for (const std::string& key : keys)
    sequence.push_back(classes.emplace(key, static_cast<int>(classes.size())).first->second);
  return sequence;
}

void add_codes(Report& report, const Explainer& explainer, const std::vector<LoweredKernel>& lowered) {
  std::map<std::string, int> codes;  // by content
  for (size_t k = 0; k < lowered.size(); ++k) {
    if (explainer.graph().kernels[k].kind == KernelGroup::library) {
      report.code_of.push_back(-1);
      continue;
    }
    const loop::Kernel& kernel = lowered[k].kernel;
    const auto [code, first] =
        codes.emplace(kernel_text(kernel.name, loop::print(kernel)).content, static_cast<int>(report.codes.size()));
    report.code_of.push_back(code->second);
    if (!first) continue;
    const int number = static_cast<int>(k);
    report.codes.push_back({number, report.kernels[k].schedule, explainer.code_of(number)});
  }
}

void add_memory(Report& report, const Explainer& explainer, const std::vector<LoweredKernel>& lowered) {
  const Graph& fused = explainer.graph();
  const bool constant = explainer.options().pipeline.narrow_parameters;
  const Placement placement = place_all(fused, lowered, explainer.options().sizes, constant);
  report.arena_bytes = placement.bytes;
  for (const StoredValue& value : stored_values(fused, explainer.options().sizes, constant))
    report.memory.push_back({fused.node(value.root).name, static_cast<int>(value.root.index), value.lifetime.bytes,
                             placement.value_offset[value.root.index], value.lifetime.first, value.lifetime.last});
  for (size_t k = 0; k < lowered.size(); ++k)
    for (size_t i = 0; i < lowered[k].buffers.size(); ++i) {
      const int64_t offset = placement.temporary[k][i];
      if (offset < 0) continue;
      const int64_t bytes = placement.lifetimes[report.memory.size()].bytes;
      report.memory.push_back(
          {lowered[k].kernel.buffers[i].name, -1, bytes, offset, static_cast<int>(k), static_cast<int>(k)});
    }
}

}  // namespace

std::vector<ReportLayers> repetitions(const std::vector<int>& sequence) {
  const size_t size = sequence.size();
  std::vector<ReportLayers> found;
  for (size_t at = 0; at < size;) {
    size_t best_period = 1, best_count = 1;
    for (size_t period = 1; at + 2 * period <= size; ++period) {
      size_t end = at + period;
      while (end < size && sequence[end] == sequence[end - period]) ++end;
      const size_t count = (end - at) / period;
      if (count > 1 && count * period > best_count * best_period) {
        best_period = period;
        best_count = count;
      }
    }
    if (best_count > 1)
      found.push_back({static_cast<int>(at), static_cast<int>(best_period), static_cast<int>(best_count)});
    at += best_period * best_count;
  }
  return found;
}

Report make_report(const ExplainArguments& arguments, const std::string& trace_file) {
  const Selection selection = select_model(arguments.model.spec, arguments.model.settings);
  const ExplainOptions options = explain_options(arguments, selection);
  StageTexts texts;
  Explainer explainer(selection.model, options,
                      [&](std::string_view stage, const Graph& graph) { texts.add(stage, print(graph)); });
  const Graph& fused = explainer.graph();
  Report report;
  if (!trace_file.empty()) report.runs = runs_in_trace(read_file(trace_file, size_t{1} << 30), trace_file, fused);
  report.asked = arguments;
  report.sizes = options.sizes;
  for (const auto& file : selection.model.library->files()) report.files.emplace_back(file->name, file->text);
  report.stages = std::move(texts.stages);
  report.nodes = nodes_of(fused, report.files, texts.last());
  std::vector<int> numbers(fused.kernels.size());
  std::iota(numbers.begin(), numbers.end(), 0);
  report.kernels = explainer.explain(numbers);
  const std::vector<LoweredKernel> lowered = lower_all(fused, Layouts(fused), options.device, explainer.scheduler());
  add_codes(report, explainer, lowered);
  report.layers = repetitions(alike(fused));
  add_memory(report, explainer, lowered);
  return report;
}

}  // namespace mambac::tools
