// What a kernel of a compiled model is and why: the lines that it comes from, its neighbours, its schedule, its work.
// Computed by an Explainer; explain_print.cpp and explain_json.cpp write it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "codegen/labelled.h"
#include "tools/compile.h"
#include "tools/gpu_cost.h"
#include "tools/occupancy.h"
#include "tools/roofline.h"
#include "tools/schedule_option.h"

namespace mambac::tools {

struct ExplainedOp {
  std::string node, op;
  std::string text;  // its line in the fused graph
};

/// A line of a definition, with the ops of the kernel that were made from it, in their order.
struct ExplainedLine {
  std::string file;  // empty, and line 0: what the compiler made without a place
  int line = 0;
  std::string text;  // as it stands in the file
  std::vector<ExplainedOp> ops;
};

struct KernelSummary {
  int number = 0;
  std::string name;                  // in the fused graph
  std::string code_name;             // in emitted code; empty: a call of the library
  std::string_view kind;             // "walk", "rows" or "library"
  std::string loops;                 // "walk<L> lane<D> outer<B> inner<N>"
  std::vector<ExplainedLine> lines;  // by file in the order of the definition, then by line
  KernelWork work;

  size_t ops() const;
};

/// A kernel that reads what another leaves.
struct Neighbour {
  int number = 0;
  std::string name;
  std::vector<std::string> values;  // that pass between the two
  Reason reason;                    // why they are not one kernel
};

/// Where a choice comes from: an entry for all that can make one.
enum class ChoiceSource : uint8_t {
  heuristic,  // the device's default for such a kernel
  shipped,    // a record that every build carries
  user,       // a record of the user's
  pinned,     // a record of --tuned FILE
  asked,      // --schedule
};
std::string_view name_of(ChoiceSource source);

struct ScheduleAxis {
  std::string name;
  int value = 0;
  ChoiceSource source = ChoiceSource::heuristic;
};

/// The least times of the kernel's work on one machine, by resource.
struct Roofline {
  std::string machine;
  std::vector<ResourceTime> times;
};

/// What is launched of a kernel on a GPU.
struct GpuStage {
  std::string symbol;
  int64_t blocks = 0;
  int threads = 0;  // of a block
  cuda::KernelUse use;
  std::optional<Occupancy> occupancy;
};

struct GpuCode {
  std::string architecture;
  std::string counted_in;  // "SASS" or "PTX"
  double slots = 0;        // instructions of threads, of one launch
  double specials = 0;     // of these, for the special-function unit
  std::vector<GpuStage> stages;
};

/// Code of a kernel: its loops ("kernels"), LLVM IR and assembly ("llvm", "asm") or CUDA C++ ("cuda") and, with an
/// architecture, machine code ("sass", or "ptx" where there is no nvdisasm).
struct ListedCode {
  std::string_view form;
  std::vector<LabelledLine> lines;
  std::vector<loop::Origin> origins;  // that lines point to
};

struct KernelExplanation {
  KernelSummary summary;
  std::vector<Neighbour> producers, consumers;
  Remarks remarks;                     // about ops of this kernel
  std::vector<ScheduleAxis> schedule;  // of a call of the library the one axis that it has, or none
  std::optional<TuningRecord> record;  // that the schedule comes from
  std::vector<std::string> algorithms;  // of a call of the library on a CPU, by number
  std::vector<Roofline> rooflines;     // of this machine, or of GPUs
  std::vector<ListedCode> code;        // with ExplainOptions::code
  std::optional<GpuCode> gpu;          // nothing on a CPU, without an architecture, and of a call of the library
};

struct ExplainOptions {
  PipelineOptions pipeline;  // with the device's fusion
  Bindings sizes;            // of all free dimensions
  DeviceKind device = DeviceKind::cpu;
  bool measure = false;      // rooflines of this machine, which is measured for them
  std::string architecture;  // of machine code; empty: none is made
  std::vector<Gpu> gpus;     // whose rooflines are given
  bool code = false;         // code is listed
  std::vector<std::string> schedule;
  std::shared_ptr<const TunedSchedules> tuned;  // null: none
};

class Explainer {
 public:
  /// `observer` is told of the passes' results, as run_pipeline tells it.
  Explainer(const Model& model, ExplainOptions options, const StageObserver& observer = {});

  const Graph& graph() const { return fused_; }
  const ExplainOptions& options() const { return options_; }
  Program::Scheduler scheduler() const { return schedules_.scheduler(); }
  /// All kernels of the graph.
  std::vector<KernelSummary> kernels() const;
  /// InputError for a setting of --schedule that is illegal, or for none of these kernels; failures of count_kernels.
  std::vector<KernelExplanation> explain(const std::vector<int>& numbers);
  /// Code of a kernel in all forms that its device has, machine code of a GPU only of kernels that were explained; none
  /// of a call of the library.
  std::vector<ListedCode> code_of(int number) const;

 private:
  KernelSummary summary_of(int number, const KernelWork& work) const;
  std::vector<ExplainedLine> lines_of(int number) const;
  std::vector<Neighbour> neighbours(int number, int Apart::*self, int Apart::*other) const;
  std::vector<std::string> values_between(int producer, int consumer) const;
  Remarks remarks_on(int number) const;
  TunedChoice tuned_choice(int number) const;
  std::vector<ScheduleAxis> schedule_of(int number) const;
  std::vector<std::string> algorithms_of(int number) const;
  void add_roofline(KernelExplanation& explanation);
  void add_gpu_code(KernelExplanation& explanation) const;
  ListedCode machine_code(const CudaKernel& kernel, const ListedCode& cuda) const;

  const Model& model_;
  ExplainOptions options_;
  ScheduleSettings schedules_;
  Graph fused_;
  Remarks remarks_;
  std::vector<Apart> apart_;
  Machine machine_;
  std::optional<CountedKernels> counted_;  // with an architecture: what was explained last
};

void print_kernels(const Explainer& explainer);
void print_explanation(const KernelExplanation& explanation, const Explainer& explainer);
Json kernels_json(const Explainer& explainer);
Json explanation_json(const KernelExplanation& explanation);

}  // namespace mambac::tools
