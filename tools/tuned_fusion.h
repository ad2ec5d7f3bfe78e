// Where small projections are computed: in the walks that read them, or by a library before. Records of tuning say it.
#pragma once

#include <optional>

#include "passes/pipeline.h"
#include "tools/target.h"

namespace mambac::tools {

/// Whether `mambac tune` keeps records of a kernel: not of look-ups in tables, which have no schedules.
bool keeps_records(const Graph& fused, int number);

/// The sum of measured times, and half of its 95% interval.
struct RecordedTime {
  double seconds = 0, half = 0;
};
/// Of one run of a fused graph's kernels under the records for these very sizes. Nothing when a kernel lacks one.
std::optional<RecordedTime> recorded_time(const Graph& fused, bool constant_parameters, const TunedSchedules& tuned,
                                          DeviceKind kind, const Bindings& sizes);

struct TunedPipeline {
  PipelineOptions options;
  PipelineResult result;
  std::optional<RecordedTime> time, other_time;  // by records: with these options, and with the other place
};

/// The pipeline with the place of small projections that takes less time by `tuned`, which may be null: that of
/// `options` unless all kernels of both have records, and the other one is faster beyond doubt and by more than a
/// hundredth.
TunedPipeline tuned_pipeline(const Graph& source, const PipelineOptions& options, const Bindings& sizes,
                             DeviceKind kind, const TunedSchedules* tuned);

/// Whether there are two places for the small projections of a graph.
bool has_two_fusions(const Graph& source, const PipelineOptions& options);
/// The options with the other one.
PipelineOptions with_other_fusion(PipelineOptions options);

}  // namespace mambac::tools
