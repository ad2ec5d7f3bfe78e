// What the process works on, for the reproducer that an error leaves behind.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "codegen/schedule.h"
#include "passes/pipeline.h"

namespace mambac::tools {

/// A graph, and what is being made of it.
struct Work {
  PipelineOptions options;
  std::string after;                 // the stage after which the graph stands
  const Graph* graph = nullptr;      // null: nothing is under way
  std::string pass;                  // that runs on it; empty: code is made of it, by the command
  std::vector<std::string> command;  // arguments of mambac that make the code; the graph is the file graph.mb

  bool under_way() const { return graph && (!pass.empty() || !command.empty()); }
};

struct Notes {
  std::string model;  // the text of the definition
  std::map<std::string, uint64_t> seeds;
  std::vector<std::string> schedule;  // what --schedule was given
  std::string source;                 // the text of the graph that came into the latest pipeline; see keeps_sources
  Work work;
  std::shared_ptr<const Graph> kept;     // the graph of `work`, where nobody else keeps it
  std::shared_ptr<const Graph> refused;  // what the failed pass made of it
};

/// The latest of each.
const Notes& notes();

void note_model(const std::string& definition);
void note_seed(const std::string& name, uint64_t seed);
void note_schedule(const std::vector<std::string>& settings);
/// Whether the texts of graphs that come into pipelines are kept; what --save-repro sets.
bool& keeps_sources();

/// run_stages on a graph that stands after a stage, and run_pipeline. The graph that a stage is given is noted while it
/// runs, and stays noted when it fails (StageFailure).
PipelineResult noted_stages(const Graph& graph, std::string_view after, const PipelineOptions& options,
                            std::span<const Stage* const> stages, const StageObserver& observer = {});
PipelineResult noted_pipeline(const Graph& source, const PipelineOptions& options, const StageObserver& observer = {});

/// While it lives, the code of kernels is made of a graph that has gone through all stages, by a stage of `mambac dump`
/// for a device. The graph stays noted when an exception ends this.
class CodeNote {
 public:
  CodeNote(const Graph& fused, const PipelineOptions& options, const std::string& stage, DeviceKind device);
  ~CodeNote();
  CodeNote(const CodeNote&) = delete;
  CodeNote& operator=(const CodeNote&) = delete;

 private:
  const int exceptions_;
};

}  // namespace mambac::tools
