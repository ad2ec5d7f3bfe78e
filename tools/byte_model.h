// What training, evaluation and generation ask of a model: bytes in, logits over 256 values out.
#pragma once

#include <filesystem>

#include "tools/compile.h"
#include "tools/train_options.h"

namespace mambac::tools {

/// InputError that names what was found when the graph has other inputs than `bytes: u8[B, L]` (and `targets`, states).
void check_reads_bytes(const Graph& graph);

/// The same, and InputError when its only output is not nll: f32[B, L], the nats of each byte.
void check_scores_bytes(const Graph& graph);

/// The options that a preset or checkpoint gives.
TrainOptions trained_options(const Model& model);

/// A checkpoint ready to be used: the model as it was trained, and the weights' file.
struct Checkpoint {
  Model model;
  TrainOptions options;
  std::filesystem::path weights;
};

/// InputError when the folder holds none.
Checkpoint load_checkpoint(const std::string& folder);

}  // namespace mambac::tools
