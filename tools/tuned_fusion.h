// Where small projections are computed: in the walks that read them, or by a library before. Records of tuning say it.
#pragma once

#include <optional>

#include "passes/pipeline.h"
#include "tools/target.h"

namespace mambac::tools {

/// Of one run of a fused graph's kernels under the records for these very sizes. Nothing when a kernel that `mambac tune`
/// keeps records of has none.
std::optional<double> recorded_seconds(const Graph& fused, bool constant_parameters, const TunedSchedules& tuned,
                                       DeviceKind kind, const Bindings& sizes);

struct TunedPipeline {
  PipelineOptions options;
  PipelineResult result;
  std::optional<double> seconds, other_seconds;  // by records: with these options, and with the other place of projections
};

/// The pipeline with the place of small projections that takes less time by `tuned`, which may be null: that of `options`
/// unless all kernels of both have records.
TunedPipeline tuned_pipeline(const Graph& source, const PipelineOptions& options, const Bindings& sizes,
                             DeviceKind kind, const TunedSchedules* tuned);

/// Whether there are two places for the small projections of a graph.
bool has_two_fusions(const Graph& source, const PipelineOptions& options);
/// The options with the other one.
PipelineOptions with_other_fusion(PipelineOptions options);

}  // namespace mambac::tools
