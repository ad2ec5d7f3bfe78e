// All that the compiler knows of a model's way to its kernels, in one structure: what the page of `mambac report`
// shows. What is equal is there once: code of equal kernels, and of texts of stages what each changed.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/explain_options.h"

namespace mambac::tools {

/// Lines [begin, end) of the text before, counted from 0, are replaced by these.
struct ReportHunk {
  size_t begin = 0, end = 0;
  std::vector<std::string> lines;
};

struct ReportStage {
  std::string name, reason;
  std::vector<ReportHunk> hunks;  // of the source, everything
};

/// A value of the fused graph.
struct ReportNode {
  std::string name, op;
  int kernel = -1;  // -1: a source, a view or a join
  int file = -1;    // in Report::files; -1: made by the compiler without a place
  int line = 0;
  int text = -1;              // its line in the text of the last stage, from 0; -1: an input, which has none
  std::vector<int> operands;  // without absent ones
};

/// Equal kernels, which have one code.
struct ReportCode {
  int kernel = 0;  // the first of them, whose names stand in the code
  std::vector<ScheduleAxis> schedule;
  std::vector<ListedCode> forms;
};

/// Kernels [first, first + period * count): count times such as have the same loops and name in code.
struct ReportLayers {
  int first = 0, period = 1, count = 1;
  bool operator==(const ReportLayers&) const = default;
};

/// Bytes of the arena at an offset, from kernel `first` to kernel `last`, both included.
struct ReportMemory {
  std::string name;
  int node = -1;  // -1: a temporary of the kernel
  int64_t bytes = 0, offset = 0;
  int first = 0, last = 0;
};

/// A run of all kernels, from a trace.
struct TimedKernel {
  int kernel = 0;
  double begin = 0, seconds = 0;  // from the begin of its run
};
struct TimedRun {
  double begin = 0, seconds = 0;  // from the begin of the trace
  std::vector<TimedKernel> kernels;
};

struct Report {
  ExplainArguments asked;
  Bindings sizes;                                          // of all free dimensions
  std::vector<std::pair<std::string, std::string>> files;  // name and text, as Library::files
  std::vector<ReportStage> stages;                         // that changed the graph
  std::vector<ReportNode> nodes;
  std::vector<KernelExplanation> kernels;  // without code
  std::vector<int> code_of;                // by kernel: index into codes; -1: a call of the library
  std::vector<ReportCode> codes;
  std::vector<ReportLayers> layers;  // in order, apart from each other
  int64_t arena_bytes = 0;
  std::vector<ReportMemory> memory;
  std::vector<TimedRun> runs;  // none without a trace
};

/// `trace_file`: what --trace wrote of a command that ran this graph; empty: none. InputError for a trace without a run
/// of it; failures of Explainer.
Report make_report(const ExplainArguments& arguments, const std::string& trace_file);

/// The runs of a fused graph in the text of a trace file; spans that left some of its kernels out are none. InputError
/// for what is no trace, or has no such run; `name` is the file's, for messages.
std::vector<TimedRun> runs_in_trace(const std::string& text, const std::string& name, const Graph& fused);

/// Where a sequence repeats itself: at each place the period that covers most, of those
/// the shortest.
std::vector<ReportLayers> repetitions(const std::vector<int>& sequence);

Json report_json(const Report& report);

/// The page: HTML, CSS and script with the data in one block of JSON. It refers to nothing outside.
std::string report_page(const Json& data);

}  // namespace mambac::tools
