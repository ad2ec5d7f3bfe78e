// Checkpoints of a training run: folders that appear whole or not at all.
//
//   DIR/checkpoint-<step>/model.safetensors       parameters
//                        /optimiser.safetensors   first and second moments, "m." and "v." before the parameter's name
//                        /training.json           where the run stands (training_record.h)
//                        /...                     the definition of the model, as the caller names it
//   DIR/latest, DIR/best  links to two of them
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/parameters.h"
#include "runtime/training_record.h"

namespace mambac {

/// What a run computes on, each laid out by its ParameterLayout.
struct TrainingArrays {
  DeviceSpan<float> values, first_moment, second_moment;
};

/// Text files that belong to every checkpoint: name and content.
using CheckpointTexts = std::vector<std::pair<std::string, std::string>>;

/// Writes the checkpoint of record.step, points "latest" to it and "best" to that of record.best_step, and
/// removes all others. EnvironmentError when the disk is full; what was there before is then still whole.
void write_checkpoint(const std::filesystem::path& folder, const TrainingRecord& record, const ParameterLayout& layout,
                      const TrainingArrays& arrays, const CheckpointTexts& texts);

/// Points "best" to the checkpoint of record.best_step and removes all but that and the one of record.step: what
/// write_checkpoint does at its end, for a run that was killed just before.
void settle_checkpoints(const std::filesystem::path& folder, const TrainingRecord& record);

/// Reads the latest checkpoint into the arrays. Nothing when the folder has none. InputError when it is damaged or
/// belongs to another model.
std::optional<TrainingRecord> read_latest_checkpoint(const std::filesystem::path& folder, const ParameterLayout& layout,
                                                     const TrainingArrays& arrays);

/// The folder with model.safetensors that the path means: itself, or in a folder written by training the best one
/// (the latest where no held-out data was given). InputError when there is none.
std::filesystem::path find_checkpoint(const std::filesystem::path& path);

/// Whether a training run has left a checkpoint there.
bool has_checkpoint(const std::filesystem::path& folder);

}  // namespace mambac
