// What `mambac diff` compares: models, dumped stages, and folders of either.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tools/kernel_set.h"

namespace mambac::tools {

struct DiffOptions {
  std::string graph = "train", device = "cpu", dtype = "f32", stage = "source";  // of models
  std::vector<std::string> settings;
};

struct DiffSide {
  std::string name;
  std::map<std::string, std::string> texts;  // by what they are: a file's name, a stage, "" for a file alone
  std::map<std::string, std::vector<KernelText>> kernels;  // the same
};

/// A folder that `dump --out` or `compile --out` wrote, a dumped file, or a model, whose kernels are made. InputError
/// for what is none of these.
DiffSide diff_side(const std::string& spec, const DiffOptions& options);

}  // namespace mambac::tools
