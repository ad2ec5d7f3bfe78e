// The way of a graph from a model's definition to fused kernels, as one list.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/error.h"
#include "passes/fuse.h"
#include "passes/remark.h"

namespace mambac {

/// What a definition is compiled for.
///   train    the loss and its gradients by all parameters
///   prefill  the outputs of a whole sequence, from a given state to the state after it
///   step     the same for one position
///   eval     the graph's outputs and nothing else
enum class GraphKind : uint8_t { train, prefill, step, eval };

std::string_view name_of(GraphKind kind);
std::optional<GraphKind> graph_kind_from(std::string_view name);

struct PipelineOptions {
  GraphKind kind = GraphKind::eval;
  std::string walk;              // prefill, step: the dimension of time; empty: what the graph's recurrences walk
  std::string loss = "loss";     // train: the output to differentiate
  bool seeds = false;            // train: the gradient of sum(output * seed) over all outputs instead
  std::vector<std::string> wrt;  // train: what to differentiate by; empty: see passes/differentiate.h
  int recompute = 0;             // train: parts of the forward pass that are computed again; see differentiate.h
  DType storage = DType::f32;    // of values between large contractions
  bool narrow_parameters = false;  // all but train: parameters of large contractions and tables in `storage`, too
  FuseOptions fuse;
};

struct Stage {
  std::string_view name;
  std::string_view reason;       // for its place in the list
  std::vector<GraphKind> kinds;  // for which it runs
  std::function<Graph(const Graph&, const PipelineOptions&, Remarks&)> run;
};

/// All stages, in their order.
std::span<const Stage> pipeline_stages();

struct PipelineResult {
  Graph graph;
  Remarks remarks;
};

/// Called with every stage's name and result; first with "source" and the graph as it came.
using StageObserver = std::function<void(std::string_view stage, const Graph& graph)>;

/// A bug in a stage: it broke an invariant while it ran, or made a graph that verify refuses.
class StageFailure : public InternalError {
 public:
  StageFailure(std::string_view stage, const std::string& message, Graph given, std::shared_ptr<const Graph> refused);

  const std::string& stage() const { return stage_; }
  /// What the stage was given.
  const std::shared_ptr<const Graph>& given() const { return given_; }
  /// What it made; null when it made nothing.
  const std::shared_ptr<const Graph>& refused() const { return refused_; }

 private:
  std::string stage_;
  std::shared_ptr<const Graph> given_, refused_;
};

/// Those for one kind of graph that come after the one of this name; "source": all. InputError when there is none of it.
std::vector<const Stage*> stages_after(std::string_view name, GraphKind kind);
/// Those of these names, in this order, whatever the kind. InputError for a name that there is not.
std::vector<const Stage*> stages_named(std::span<const std::string> names);

/// Runs stages one after the other; the graph is verified after each. NoStepForm (ir/step.h) for a prefill or step of
/// what cannot be cut into steps, StageFailure for a bug. `observer` is not told of the graph as it came; what it is
/// given stays where it is until it is called again, or run_stages returns.
PipelineResult run_stages(const Graph& graph, const PipelineOptions& options, std::span<const Stage* const> stages,
                          const StageObserver& observer = {});

/// What the states of a prefill and a step are before the first step, where they are not 0: outputs "state.<n>.<node>"
/// (see initial_state in passes/step_form.h), of the graph as it comes. InputError when a start depends on an input.
Graph first_state(const Graph& source, const PipelineOptions& options);

/// Runs all stages for the kind of graph that the options name.
PipelineResult run_pipeline(const Graph& source, const PipelineOptions& options, const StageObserver& observer = {});

}  // namespace mambac
