#include "tools/explain.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "codegen/cuda/cuda_emit.h"
#include "codegen/kernel_name.h"
#include "ir/print.h"
#include "runtime/cpu_info.h"
#include "runtime/cuda/kernel_source.h"
#include "tools/work_notes.h"

namespace mambac::tools {
namespace {

/// What stands in a line, without the spaces around it.
std::string line_of(const std::string& text, int number) {
  size_t begin = 0;
  for (int line = 1; line < number && begin != std::string::npos; ++line) {
    begin = text.find('\n', begin);
    if (begin != std::string::npos) ++begin;
  }
  if (begin == std::string::npos) return "";
  const std::string line = text.substr(begin, text.find('\n', begin) - begin);
  const size_t first = line.find_first_not_of(" \t\r");
  return first == std::string::npos ? "" : line.substr(first, line.find_last_not_of(" \t\r") + 1 - first);
}

/// The graph fused as the pipeline does, with what fusion says of pairs of kernels.
PipelineResult run_all(const Graph& source, const PipelineOptions& options, std::vector<Apart>& apart,
                       const StageObserver& observer) {
  if (observer) observer("source", source);
  std::vector<const Stage*> stages = stages_after("source", options.kind);
  const auto fusing = std::ranges::find(stages, "fuse", &Stage::name);
  Stage telling = **fusing;
  telling.run = [&](const Graph& g, const PipelineOptions& o, Remarks& remarks) {
    return fuse(g, o.fuse, remarks, &apart);
  };
  *fusing = &telling;
  return noted_stages(source, "source", options, stages, observer);
}

Program::Scheduler schedules_for(const ExplainOptions& options) {
  const auto own = options.device == DeviceKind::gpu ? Program::Scheduler(default_gpu_schedule)
                                                     : schedules_of(cpu_device());
  return options.tuned ? options.tuned->scheduler(own, options.device, options.sizes) : own;
}

ChoiceSource source_of(RecordSource source) {
  switch (source) {
    case RecordSource::shipped: return ChoiceSource::shipped;
    case RecordSource::user: return ChoiceSource::user;
    case RecordSource::pinned: break;
  }
  return ChoiceSource::pinned;
}

}  // namespace

size_t KernelSummary::ops() const {
  size_t count = 0;
  for (const ExplainedLine& line : lines) count += line.ops.size();
  return count;
}

std::string_view name_of(ChoiceSource source) {
  switch (source) {
    case ChoiceSource::heuristic: return "heuristic";
    case ChoiceSource::shipped: return "shipped record";
    case ChoiceSource::user: return "user's record";
    case ChoiceSource::pinned: return "pinned record";
    case ChoiceSource::asked: break;
  }
  return "--schedule";
}

Explainer::Explainer(const Model& model, ExplainOptions options, const StageObserver& observer)
    : model_(model),
      options_(std::move(options)),
      schedules_(options_.device, schedules_for(options_), options_.schedule) {
  PipelineResult result = run_all(source_graph(model, options_.pipeline.kind), options_.pipeline, apart_, observer);
  fused_ = std::move(result.graph);
  remarks_ = std::move(result.remarks);
}

std::vector<KernelSummary> Explainer::kernels() const {
  std::vector<KernelSummary> all;
  for (const KernelWork& work : kernel_work(fused_, options_.sizes))
    all.push_back(summary_of(static_cast<int>(all.size()), work));
  return all;
}

std::vector<KernelExplanation> Explainer::explain(const std::vector<int>& numbers) {
  const std::vector<KernelWork> works = kernel_work(fused_, options_.sizes);
  std::vector<KernelExplanation> explanations;
  for (const int number : numbers) {
    KernelExplanation one;
    one.summary = summary_of(number, works[static_cast<size_t>(number)]);
    one.producers = neighbours(number, &Apart::consumer, &Apart::producer);
    one.consumers = neighbours(number, &Apart::producer, &Apart::consumer);
    one.remarks = remarks_on(number);
    one.schedule = schedule_of(number);
    if (const TuningRecord* record = tuned_choice(number).record) one.record = *record;
    one.algorithms = algorithms_of(number);
    explanations.push_back(std::move(one));
  }
  schedules_.check_used();
  if (!options_.architecture.empty())
    counted_ = count_kernels(fused_, options_.pipeline.kind, numbers, options_.sizes, options_.architecture,
                             schedules_.scheduler());
  for (KernelExplanation& one : explanations) {
    if (counted_) add_gpu_code(one);
    if (!counted_ && options_.measure) add_roofline(one);
    if (options_.code) one.code = code_of(one.summary.number);
  }
  return explanations;
}

KernelSummary Explainer::summary_of(int number, const KernelWork& work) const {
  const KernelGroup& group = fused_.kernels[static_cast<size_t>(number)];
  KernelSummary summary;
  summary.number = number;
  summary.name = group.name;
  summary.code_name = work.library ? "" : kernel_name(fused_, number);
  summary.kind = kKernelKinds[group.kind];
  summary.loops = loops_text(fused_, group);
  summary.lines = lines_of(number);
  summary.work = work;
  return summary;
}

std::vector<ExplainedLine> Explainer::lines_of(int number) const {
  const auto& files = model_.library->files();
  std::map<std::pair<size_t, int>, ExplainedLine> lines;  // by the file's place and the line
  for (uint32_t i = 0; i < fused_.size(); ++i) {
    const Node& node = fused_.node({i});
    if (node.kernel != number) continue;
    const Location& where = node.location;
    const auto file =
        std::ranges::find_if(files, [&](const auto& one) { return where.known() && one->name == *where.file; });
    ExplainedLine& line = lines[{static_cast<size_t>(file - files.begin()), where.line}];
    if (line.ops.empty() && file != files.end())
      line = {(*file)->name, where.line, line_of((*file)->text, where.line), {}};
    line.ops.push_back({node.name, std::string(mambac::name_of(node.op)), print_node(fused_, {i})});
  }
  std::vector<ExplainedLine> list;
  for (auto& [place, line] : lines) list.push_back(std::move(line));
  return list;
}

std::vector<Neighbour> Explainer::neighbours(int number, int Apart::*self, int Apart::*other) const {
  std::vector<Neighbour> found;
  for (const Apart& pair : apart_)
    if (pair.*self == number)
      found.push_back({pair.*other, fused_.kernels[static_cast<size_t>(pair.*other)].name,
                       values_between(pair.producer, pair.consumer), pair.reason});
  return found;
}

std::vector<std::string> Explainer::values_between(int producer, int consumer) const {
  std::vector<NodeId> stack;
  std::set<NodeId> passed;
  for (const Node& node : fused_.nodes())
    if (node.kernel == consumer) stack.insert(stack.end(), node.operands.begin(), node.operands.end());
  while (!stack.empty()) {
    const NodeId id = stack.back();
    stack.pop_back();
    if (!id.present() || passed.contains(id)) continue;
    const Node& node = fused_.node(id);
    if (node.kernel == producer) passed.insert(id);
    if (node.kernel < 0) stack.insert(stack.end(), node.operands.begin(), node.operands.end());  // a view or a join
  }
  std::vector<std::string> names;
  for (const NodeId id : passed) names.push_back(fused_.node(id).name);
  return names;
}

Remarks Explainer::remarks_on(int number) const {
  Remarks found;
  std::ranges::copy_if(remarks_, std::back_inserter(found), [&](const Remark& remark) {
    const std::optional<NodeId> id = fused_.find(remark.node);
    return id && fused_.node(*id).kernel == number;
  });
  return found;
}

TunedChoice Explainer::tuned_choice(int number) const {
  if (!options_.tuned) return {};
  return options_.tuned->find(fused_, number, options_.device, options_.sizes);
}

std::vector<ScheduleAxis> Explainer::schedule_of(int number) const {
  const bool library = library_node(fused_, number).present();
  const Schedule schedule = schedules_.scheduler()(fused_, number);
  const std::set<std::string> asked = schedules_.asked(fused_, number);
  const TunedChoice tuned = tuned_choice(number);
  const ChoiceSource chosen = tuned.record != nullptr ? source_of(tuned.source) : ChoiceSource::heuristic;
  std::vector<ScheduleAxis> axes;
  for (const auto& [name, value] : schedule.values())
    if (!library || (name == "algorithm" && is_library_product(fused_, number)))
      axes.push_back({name, value, asked.contains(name) ? ChoiceSource::asked : chosen});
  return axes;
}

std::vector<std::string> Explainer::algorithms_of(int number) const {
  const NodeId node = library_node(fused_, number);
  if (!node.present() || options_.device != DeviceKind::cpu) return {};
  std::vector<NodeId> roots;
  const Layouts layouts(fused_);
  return cpu_device().library_call({fused_, layouts, node, options_.sizes, schedules_.scheduler()(fused_, number),
                                    options_.pipeline.narrow_parameters}, &roots)->algorithms();
}

std::vector<ListedCode> Explainer::code_of(int number) const {
  if (fused_.kernels[static_cast<size_t>(number)].kind == KernelGroup::library) return {};
  const Layouts layouts(fused_);
  const loop::Kernel kernel =
      lower(fused_, layouts, number, schedules_.scheduler()(fused_, number), options_.device).kernel;
  const bool gpu = options_.device == DeviceKind::gpu;
  std::vector<ListedCode> listed;
  for (const std::string_view form : gpu ? std::vector<std::string_view>{"kernels", "cuda"}
                                         : std::vector<std::string_view>{"kernels", "llvm", "asm"})
    listed.push_back({form, labelled_code(kernel, form), kernel.origins});
  const int counted = counted_ ? counted_->numbers[static_cast<size_t>(number)] : -1;
  if (counted >= 0)
    listed.push_back(machine_code(counted_->kernels.all()[static_cast<size_t>(counted)], listed.back()));
  return listed;
}

/// Its lines are there for what the lines of CUDA C++ are there for that they were made from.
ListedCode Explainer::machine_code(const CudaKernel& kernel, const ListedCode& cuda) const {
  ListedCode listed{counted_->counted_in == "SASS" ? "sass" : "ptx", {}, cuda.origins};
  for (cuda::CodeLine& line : machine_lines(kernel, options_.architecture)) {
    const int source = line.line - cuda::first_line_of_text();
    const bool known = source >= 0 && source < static_cast<int>(cuda.lines.size());
    listed.lines.push_back({std::move(line.text), known ? cuda.lines[static_cast<size_t>(source)].origin : -1});
  }
  return listed;
}

void Explainer::add_roofline(KernelExplanation& explanation) {
  explanation.rooflines.push_back({fmt::format("{}, {} threads", cpu_info().model, omp_get_max_threads()),
                                   machine_.times_of(explanation.summary.work)});
}

void Explainer::add_gpu_code(KernelExplanation& explanation) const {
  const CountedKernels& counted = *counted_;
  const auto number = static_cast<size_t>(explanation.summary.number);
  const GpuKernelCost cost = kernel_cost(counted, number, explanation.summary.work);
  for (const Gpu& gpu : options_.gpus)
    explanation.rooflines.push_back({std::string(gpu.title), times_on(gpu, cost.work)});
  if (cost.library) return;
  const CudaKernel& kernel = counted.kernels.all()[static_cast<size_t>(counted.numbers[number])];
  GpuCode code{options_.architecture, counted.counted_in, cost.work.slots, cost.work.specials, {}};
  std::vector<int64_t> sizes;
  for (const std::string& name : kernel.loops.sizes) sizes.push_back(options_.sizes.find(name)->second);
  for (size_t i = 0; i < kernel.loops.stages.size(); ++i) {
    const loop::Stage& stage = kernel.loops.stages[i];
    GpuStage made{cuda_emit::stage_symbol(kernel.loops, i),
                  loop::evaluate(stage.tasks, {}, sizes),
                  threads_of(kernel.loops, stage),
                  {},
                  {}};
    made.use = use_of(kernel, made.symbol);
    made.occupancy = occupancy_of(options_.architecture, made.use, made.threads);
    code.stages.push_back(std::move(made));
  }
  explanation.gpu = std::move(code);
}

}  // namespace mambac::tools
