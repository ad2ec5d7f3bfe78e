#include "tools/training_graphs.h"

namespace mambac::tools {

TrainingGraphs CompiledTraining::graphs() const {
  const auto if_any = [](const std::unique_ptr<Compiled>& compiled) { return compiled ? &**compiled : nullptr; };
  return {**gradients, **norm, if_any(update_decayed), if_any(update_others), if_any(add), if_any(valid)};
}

CompiledTraining compile_training(const Model& model, const Graph& training, const TrainOptions& options,
                                  const ParameterLayout& layout, bool with_valid, const Target& target) {
  const Bindings sizes{{"B", options.batch}, {"L", options.context}};
  const Graph loss = with_output(training, "loss");
  CompiledTraining compiled;
  const auto optimiser = [&](const char* block, int64_t parameters) {
    if (parameters == 0) return std::unique_ptr<Compiled>();
    const Graph graph = instantiate_block(model, block, {{"P", parameters}});
    return compile(graph, options_for(GraphKind::eval, DType::f32, {}), {}, target);
  };
  compiled.norm = optimiser("sum_squares", layout.size());
  compiled.update_decayed = optimiser("adamw", layout.decayed());
  compiled.update_others = optimiser("adamw", layout.size() - layout.decayed());
  if (options.settings.accumulate > 1) compiled.add = optimiser("accumulate", layout.size());
  if (with_valid) compiled.valid = compile(loss, options_for(GraphKind::eval, options.storage, sizes), sizes, target);
  PipelineOptions gradients = options_for(GraphKind::train, options.storage, sizes);
  compiled.recompute = gradients.recompute =
      options.recompute ? checked_recompute(*options.recompute, GraphKind::train, loss)
                        : fitting_recompute(loss, gradients, sizes, target, room_for_values(target.device(), layout));
  compiled.gradients = compile(loss, gradients, sizes, target);
  return compiled;
}

}  // namespace mambac::tools
