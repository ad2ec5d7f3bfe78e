// From what the command line says to an executable: the one place where model, passes and code generation meet.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "frontend/model.h"
#include "passes/pipeline.h"
#include "runtime/program.h"
#include "runtime/parameters.h"
#include "tools/target.h"

namespace mambac::tools {

/// A model and the sizes of free dimensions that `--set` gave.
struct Selection {
  Model model;
  Bindings sizes;
};

/// `settings` are "name=integer". InputError for what is none, and for unknown names.
Selection select_model(const std::string& spec, const std::vector<std::string>& settings);
std::map<std::string, int64_t> parse_settings(const std::vector<std::string>& settings);

/// The element type of a `--dtype`: f32 or bf16.
DType storage_named(const std::string& text);
GraphKind kind_named(const std::string& text);

/// The graph that a kind starts from: with the loss for train and eval, without a loss for the others.
Graph source_graph(const Model& model, GraphKind kind);

/// The graph with this output only.
Graph with_output(Graph graph, const std::string& name);

/// The trained parameters of a graph in one array.
ParameterLayout layout_of(const Graph& graph);

/// A step of at most this many rows is made of matrix-vector kernels, not of library calls.
constexpr int64_t kMatrixVectorRows = 4;

/// The number of a `--recompute`, for a graph of this kind. InputError when the graph has fewer parts to compute again.
int checked_recompute(int parts, GraphKind kind, const Graph& source);

/// What the pipeline is told. `sizes` need not be complete.
PipelineOptions options_for(GraphKind kind, DType storage, const Bindings& sizes);

/// A graph of a model as commands run it, and what the pipeline is told: of train the loss alone, of eval the nats of each
/// byte alone, which there may be none of.
struct SourceProgram {
  Graph source;
  PipelineOptions options;
};
SourceProgram program_of(const Model& model, GraphKind kind, DType storage, const Bindings& sizes);

/// The options of a device, but for what is the graph's own choice.
FuseOptions device_options(FuseOptions device, const FuseOptions& model);

/// A compiled graph and, once sizes are bound, an executable of it.
struct Compiled {
  std::unique_ptr<Program> program;
  Remarks remarks;
  std::unique_ptr<Executable> executable;

  Executable& operator*() const { return *executable; }
};

/// Bytes that a plan may take of what the device has free: parameters, gradients and two moments lie beside it, and a
/// sixteenth is left for what libraries and the system need.
int64_t room_for_values(const Device& device, const ParameterLayout& parameters);

/// The fewest parts of a training graph to compute again (PipelineOptions::recompute) with which its plan takes at most
/// so many bytes; all that there are when it always takes more.
int fitting_recompute(const Graph& source, PipelineOptions options, const Bindings& sizes, const Target& target,
                      int64_t bytes);

/// The kernels of a graph that has gone through all stages. The graph is noted for the reproducer meanwhile.
/// `schedule` empty: the device's.
std::unique_ptr<Program> compile_kernels(Graph fused, const PipelineOptions& options,
                                         const Program::Scheduler& schedule, Device& device);

/// Runs the pipeline, compiles every kernel for the target, whose parts must outlive the result, and makes an executable
/// for these sizes. The target's records say where small projections are computed. `schedule` empty: the target's.
std::unique_ptr<Compiled> compile(const Graph& source, const PipelineOptions& options, const Bindings& sizes,
                                  const Target& target, const Program::Scheduler& schedule = {});

}  // namespace mambac::tools
