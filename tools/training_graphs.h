// The executables of a training run.
#pragma once

#include "runtime/train.h"
#include "tools/byte_model.h"

namespace mambac::tools {

struct CompiledTraining {
  std::unique_ptr<Compiled> gradients, norm, update_decayed, update_others, add, valid;
  int recompute = 0;  // parts of the forward pass that `gradients` computes again

  /// What the training loop is handed; `this` must outlive it.
  TrainingGraphs graphs() const;
};

/// Compiles what a run with these options needs. `training` and `layout` are those of the model (training_graph,
/// layout_of); with_valid: held-out data will be measured. The target's parts must outlive the result.
CompiledTraining compile_training(const Model& model, const Graph& training, const TrainOptions& options,
                                  const ParameterLayout& layout, bool with_valid, const Target& target);

}  // namespace mambac::tools
