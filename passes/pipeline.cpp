#include "passes/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <new>
#include <stdexcept>

#include "ir/error.h"
#include "ir/step.h"
#include "ir/trace.h"
#include "ir/verify.h"
#include "passes/differentiate.h"
#include "passes/precision.h"
#include "passes/regroup.h"
#include "passes/separate.h"
#include "passes/simplify.h"
#include "passes/step_form.h"

namespace mambac {

namespace {

constexpr std::array<std::string_view, 4> kKindNames{"train", "prefill", "step", "eval"};

/// The dimension that the recurrences of the graph walk; where nothing does, the last free one of its inputs.
DimId walked_dimension(const Graph& graph) {
  std::optional<DimId> walk, last;
  for (const Node& node : graph.nodes()) {
    if (node.op == Op::Input)
      for (DimId d : node.type.dims)
        if (graph.dim(d).is_free() && (!last || *last < d)) last = d;
    if (!is_directional(node.op) || !graph.dim(node.attrs.dims[0]).is_free()) continue;
    if (walk && *walk != node.attrs.dims[0])
      throw NoStepForm(
          node.location,
          fmt::format("{} ({}) walks along {}, what comes before it along {}; expected one dimension to "
                      "step along",
                      node.name, name_of(node.op), graph.dim(node.attrs.dims[0]).name, graph.dim(*walk).name));
    walk = node.attrs.dims[0];
  }
  if (walk) return *walk;
  if (last) return *last;
  throw NoStepForm(fmt::format("found no free dimension to step along in '{}'", graph.name));
}

DimId walk_of(const Graph& graph, const PipelineOptions& options) {
  if (options.walk.empty()) return walked_dimension(graph);
  if (auto walk = graph.find_dim(options.walk)) return *walk;
  throw InputError(fmt::format("found no dimension {} to step along in '{}'", options.walk, graph.name));
}

Graph differentiated(const Graph& graph, const PipelineOptions& options) {
  return options.seeds ? differentiate_with_seeds(graph, options.wrt)
                       : differentiate(graph, options.loss, options.wrt, options.recompute);
}

std::vector<Stage> make_stages() {
  using enum GraphKind;
  const std::vector<GraphKind> all{train, prefill, step, eval};
  using Options = const PipelineOptions&;
  return {
      {"simplify", "first: equal values are one value before gradients are added up and states are counted", all,
       [](const Graph& g, Options, Remarks&) { return simplify(g); }},
      {"differentiate",
       "on primitive ops, before anything is fused",
       {train},
       [](const Graph& g, Options o, Remarks&) { return differentiated(g, o); }},
      {"state",
       "on the same graph as the step form, so that both have the same states",
       {prefill},
       [](const Graph& g, Options o, Remarks&) { return expose_state(g, walk_of(g, o)); }},
      {"step",
       "on the same graph as the prefill's states",
       {step},
       [](const Graph& g, Options o, Remarks&) { return step_form(g, walk_of(g, o)); }},
      {"regroup",
       "after differentiate, whose products are of full size; before clean, which merges sums that come out equal",
       {train, prefill, eval},
       [](const Graph& g, Options, Remarks&) { return regroup(g); }},
      {"clean", "simplifies what the stage before wrote op by op; no gradient is taken any more, so stops go", all,
       [](const Graph& g, Options, Remarks&) { return simplify(g, {.drop_stops = true}); }},
      {"separate",
       "after clean, whose merged values are those that several walks share; before fuse, which would store their sums",
       {train, prefill, eval},
       [](const Graph& g, Options o, Remarks&) { return separate_walks(g, o.fuse.fuse_projections); }},
      {"precision",
       "after differentiate, so that a value and its gradient agree; before fuse, which decides by what is stored", all,
       [](const Graph& g, Options o, Remarks&) { return lower_precision(g, o.storage, o.fuse.fuse_projections); }},
      {"parameters",
       "after precision, whose casts of parameters it takes away",
       {prefill, step, eval},
       [](const Graph& g, Options o, Remarks&) { return o.narrow_parameters ? narrow_parameters(g, o.storage) : g; }},
      {"fuse", "kernels are made of the ops that are really left", all,
       [](const Graph& g, Options o, Remarks& remarks) { return fuse(g, o.fuse, remarks); }},
      {"stores", "after fuse, which knows what is stored between kernels", all,
       [](const Graph& g, Options o, Remarks&) { return narrow_stores(g, o.storage); }},
  };
}

/// What goes wrong in it beyond the user's mistakes and the machine's limits is a bug of the stage.
Graph run_stage(const Stage& stage, const Graph& graph, const PipelineOptions& options, Remarks& remarks) {
  const trace::Span span("pass", stage.name);
  try {
    return stage.run(graph, options, remarks);
  } catch (const InternalError& failure) {
    throw StageFailure(stage.name, failure.what(), graph, nullptr);
  } catch (const Failure&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::length_error&) {
    throw;
  } catch (const std::exception& failure) {
    throw StageFailure(stage.name, failure.what(), graph, nullptr);
  }
}

void verify_result(const Stage& stage, const Graph& given, const Graph& made) {
  const trace::Span span("verify", stage.name);
  try {
    verify(made);
  } catch (const InternalError& failure) {
    throw StageFailure(stage.name, failure.what(), given, std::make_shared<const Graph>(made));
  }
}

}  // namespace

StageFailure::StageFailure(std::string_view stage, const std::string& message, Graph given,
                           std::shared_ptr<const Graph> refused)
    : InternalError(fmt::format("in the pass {}: {}", stage, message)),
      stage_(stage),
      given_(std::make_shared<const Graph>(std::move(given))),
      refused_(std::move(refused)) {}

std::string_view name_of(GraphKind kind) {
  return kKindNames[static_cast<size_t>(kind)];
}

std::optional<GraphKind> graph_kind_from(std::string_view name) {
  auto found = std::find(kKindNames.begin(), kKindNames.end(), name);
  if (found == kKindNames.end()) return std::nullopt;
  return static_cast<GraphKind>(found - kKindNames.begin());
}

std::span<const Stage> pipeline_stages() {
  static const std::vector<Stage> stages = make_stages();
  return stages;
}

std::vector<const Stage*> stages_after(std::string_view name, GraphKind kind) {
  std::vector<const Stage*> stages;
  std::vector<std::string_view> known{"source"};
  bool found = name == "source";
  for (const Stage& stage : pipeline_stages()) {
    if (std::ranges::find(stage.kinds, kind) == stage.kinds.end()) continue;
    if (found) stages.push_back(&stage);
    found = found || stage.name == name;
    known.push_back(stage.name);
  }
  if (!found)
    throw InputError(fmt::format("the pipeline of {} graphs has no stage '{}'; it has: {}", name_of(kind), name,
                                 fmt::join(known, ", ")));
  return stages;
}

std::vector<const Stage*> stages_named(std::span<const std::string> names) {
  std::vector<const Stage*> stages;
  for (const std::string& name : names) {
    const std::span<const Stage> all = pipeline_stages();
    const auto found = std::ranges::find(all, name, &Stage::name);
    if (found == all.end()) {
      std::vector<std::string_view> known;
      for (const Stage& stage : all) known.push_back(stage.name);
      throw InputError(fmt::format("there is no pass '{}'; there are: {}", name, fmt::join(known, ", ")));
    }
    stages.push_back(&*found);
  }
  return stages;
}

PipelineResult run_stages(const Graph& graph, const PipelineOptions& options, std::span<const Stage* const> stages,
                          const StageObserver& observer) {
  PipelineResult result{graph, {}};
  verify(result.graph);
  for (const Stage* stage : stages) {
    Graph made = run_stage(*stage, result.graph, options, result.remarks);
    verify_result(*stage, result.graph, made);
    result.graph = std::move(made);
    if (observer) observer(stage->name, result.graph);
  }
  return result;
}

Graph first_state(const Graph& source, const PipelineOptions& options) {
  const Graph simple = simplify(source);  // of which the states are counted
  Graph first = initial_state(simple, walk_of(simple, options));
  first.remove_dead(false);
  for (const Node& node : first.nodes())
    if (node.op == Op::Input)
      throw InputError(node.location, fmt::format("a recurrence starts with what depends on the input '{}'; expected one "
                                                  "of parameters alone, since there is no input before the first step",
                                                  node.name));
  return first;
}

PipelineResult run_pipeline(const Graph& source, const PipelineOptions& options, const StageObserver& observer) {
  if (observer) observer("source", source);
  return run_stages(source, options, stages_after("source", options.kind), observer);
}

}  // namespace mambac
