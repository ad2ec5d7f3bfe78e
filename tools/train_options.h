// Everything that training can be told, by name: the options of `mambac train`, the `train.*` of a preset, and what a
// checkpoint keeps of them are one table.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/type.h"
#include "runtime/train_settings.h"

namespace mambac::tools {

struct TrainOptions {
  TrainSettings settings;
  int64_t batch = 8;      // windows of one batch
  int64_t context = 512;  // bytes of a window
  DType storage = DType::f32;
  std::optional<int> recompute;  // parts of the forward pass that the backward pass computes again; absent: as few as fit
};

struct TrainOption {
  std::string_view name;  // learning_rate; the command line writes --learning-rate
  std::string_view help;
};

const std::vector<TrainOption>& train_options();

/// InputError for an unknown name (a near one is named) and for text that is no such value. Setting steps or minutes
/// unsets the other one.
void set_option(TrainOptions& options, std::string_view name, const std::string& text);
/// Reads back as the same value. Steps and minutes: empty when the other one is set.
std::string option_text(const TrainOptions& options, std::string_view name);
/// All of them, for a checkpoint's definition.
std::map<std::string, std::string> option_texts(const TrainOptions& options);

}  // namespace mambac::tools
