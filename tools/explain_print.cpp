// Explanations as text.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "ir/print.h"
#include "runtime/progress.h"
#include "tools/explain.h"

namespace mambac::tools {
namespace {

std::string sizes_text(const Bindings& sizes) {
  std::string text;
  for (const auto& [name, size] : sizes) text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, size);
  return text;
}

/// "mamba.mb:20-22,24": neighbouring lines are one range.
std::string places_text(const std::vector<ExplainedLine>& lines) {
  std::string text, file;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].file.empty()) continue;
    size_t last = i;
    while (last + 1 < lines.size() && lines[last + 1].file == lines[i].file &&
           lines[last + 1].line == lines[last].line + 1)
      ++last;
    text += lines[i].file == file ? "," : fmt::format("{}{}:", text.empty() ? "" : " ", lines[i].file);
    text += last > i ? fmt::format("{}-{}", lines[i].line, lines[last].line) : std::to_string(lines[i].line);
    file = lines[i].file;
    i = last;
  }
  return text;
}

void print_lines(const KernelSummary& summary) {
  fmt::print("made from\n");
  for (const ExplainedLine& line : summary.lines) {
    if (line.file.empty())
      fmt::print("  no line of the model\n");
    else
      fmt::print("  {}:{}  {}\n", line.file, line.line, line.text);
    for (const ExplainedOp& op : line.ops) fmt::print("      {}\n", op.text);
  }
}

void print_neighbours(std::string_view title, const std::vector<Neighbour>& neighbours) {
  if (neighbours.empty()) return;
  fmt::print("{}\n", title);
  for (const Neighbour& one : neighbours) {
    const ReasonInfo& reason = info(one.reason.code);
    fmt::print("  {}: {}\n", one.name, fmt::join(one.values, ", "));
    fmt::print("      not fused: {} [{}]\n      to fuse: {}\n", one.reason.text, reason.name, reason.remedy);
  }
}

void print_remarks(const Remarks& remarks) {
  if (remarks.empty()) return;
  fmt::print("where fusion stopped\n");
  for (const Remark& remark : remarks)
    fmt::print("  {}{} ({}): {} [{}: {}]\n", remark.location.known() ? remark.location.str() + ": " : "", remark.node,
               mambac::name_of(remark.op), remark.text, info(remark.outcome).name, info(remark.code).name);
}

void print_record(const TuningRecord& record) {
  fmt::print("  record {} at {}, {}: {:.2f} times as fast as the heuristic there\n", record.kernel.substr(0, 12),
             record.sizes.empty() ? "fixed sizes" : sizes_text(record.sizes), record.date,
             record.heuristic_seconds / record.seconds);
}

void print_schedule(const KernelExplanation& explanation) {
  const std::vector<ScheduleAxis>& schedule = explanation.schedule;
  if (schedule.empty()) return;
  std::map<ChoiceSource, std::vector<std::string>> by_source;
  for (const ScheduleAxis& axis : schedule)
    by_source[axis.source].push_back(fmt::format("{}={}", axis.name, axis.value));
  fmt::print("schedule\n");
  for (const auto& [source, axes] : by_source) fmt::print("  {}: {}\n", name_of(source), fmt::join(axes, " "));
  if (explanation.record) print_record(*explanation.record);
  for (size_t i = 0; i < explanation.algorithms.size(); ++i)
    fmt::print("  algorithm {}: {}\n", i, explanation.algorithms[i]);
}

void print_work(const KernelWork& work, const Bindings& sizes) {
  fmt::print("work at {}\n", sizes_text(sizes));
  fmt::print("  {:<14}{:>12}\n  {:<14}{:>12}\n", "read", byte_text(work.bytes_read), "written",
             byte_text(work.bytes_written));
  fmt::print("  {:<14}{:>12}\n  {:<14}{:>12}\n", "FLOPs", scaled(work.flops), "exp, log", scaled(work.exponentials));
}

void print_rooflines(const std::vector<Roofline>& rooflines) {
  for (const Roofline& roofline : rooflines) {
    fmt::print("at least, on {}\n", roofline.machine);
    const double most = longest(roofline.times).seconds;
    for (const ResourceTime& time : roofline.times)
      if (time.seconds > 0)
        fmt::print("  {:<14}{:>9.4f} ms{:>6.0f}%\n", time.resource, time.seconds * 1e3, 100 * time.seconds / most);
  }
}

void print_stage(const GpuStage& stage) {
  fmt::print("  {}\n      {} blocks of {} threads; of a thread {} registers, {} spilled, {} local; {} shared\n",
             stage.symbol, stage.blocks, stage.threads, stage.use.registers,
             byte_text(stage.use.spill_stores + stage.use.spill_loads), byte_text(stage.use.stack),
             byte_text(stage.use.shared));
  if (!stage.occupancy) return;
  fmt::print("      a multiprocessor holds {} blocks: {:.0f}% of its warps, bound by {}\n", stage.occupancy->blocks,
             100 * stage.occupancy->share, stage.occupancy->bound);
}

void print_code(const GpuCode& code) {
  fmt::print("machine code for {}, counted in {}\n", code.architecture, code.counted_in);
  fmt::print("  {:<14}{:>12}\n  {:<14}{:>12}\n", "issue slots", scaled(code.slots), "MUFU", scaled(code.specials));
  for (const GpuStage& stage : code.stages) print_stage(stage);
}

}  // namespace

void print_kernels(const Explainer& explainer) {
  const ExplainOptions& options = explainer.options();
  const std::vector<KernelSummary> kernels = explainer.kernels();
  size_t widest = 0;
  for (const KernelSummary& kernel : kernels) widest = std::max(widest, kernel.name.size());
  fmt::print("the {} graph, {} kernel{}; work at {}\n", mambac::name_of(options.pipeline.kind), kernels.size(),
             kernels.size() == 1 ? "" : "s", sizes_text(options.sizes));
  fmt::print("{:<{}}  {:<8}{:>4}{:>12}{:>12}{:>12}  {}\n", "kernel", widest, "kind", "ops", "bytes", "FLOPs",
             "exp, log", "lines");
  for (const KernelSummary& kernel : kernels)
    fmt::print("{:<{}}  {:<8}{:>4}{:>12}{:>12}{:>12}  {}\n", kernel.name, widest, kernel.kind, kernel.ops(),
               byte_text(kernel.work.bytes()), scaled(kernel.work.flops), scaled(kernel.work.exponentials),
               places_text(kernel.lines));
}

void print_explanation(const KernelExplanation& explanation, const Explainer& explainer) {
  const KernelSummary& summary = explanation.summary;
  fmt::print("{} = {}\n", summary.name, summary.loops);
  if (!summary.code_name.empty()) fmt::print("in emitted code {}\n", summary.code_name);
  print_lines(summary);
  print_neighbours("reads what these leave", explanation.producers);
  print_neighbours("leaves what these read", explanation.consumers);
  print_remarks(explanation.remarks);
  print_schedule(explanation);
  print_work(summary.work, explainer.options().sizes);
  print_rooflines(explanation.rooflines);
  if (explanation.gpu) print_code(*explanation.gpu);
  for (const ListedCode& code : explanation.code)
    fmt::print("{}\n{}", code.form, with_labels(code.lines, code.origins, comment_mark(code.form)));
}

}  // namespace mambac::tools
