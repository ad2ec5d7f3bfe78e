// Options of commands that explain a graph's kernels.
#pragma once

#include "tools/arguments.h"
#include "tools/explain.h"

namespace mambac::tools {

/// What chooses a graph, a device and schedules.
struct ExplainArguments {
  ModelArguments model;
  std::string graph = "train", dtype = "f32", device = "cpu", gpu, tuned;
  int recompute = 0;
  std::vector<std::string> schedule;
};

/// Declares MODEL, --set, --graph, --dtype, --recompute, --device, --gpu, --schedule and --tuned.
void add_explain_options(Command command, ExplainArguments& arguments);

/// What an Explainer is told, without code. InputError for what is no graph, type, device or number of parts.
ExplainOptions explain_options(const ExplainArguments& arguments, const Selection& selection);

/// What was asked, as the head of reports: the model, the graph, the type, the device and all sizes.
Json explain_head(const ExplainArguments& arguments, const Bindings& sizes);

}  // namespace mambac::tools
