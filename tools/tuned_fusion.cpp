#include "tools/tuned_fusion.h"

#include <utility>

#include "passes/contraction.h"
#include "passes/fuse.h"
#include "passes/plan.h"
#include "tools/work_notes.h"

namespace mambac::tools {

bool keeps_records(const Graph& fused, int number) {
  return fused.kernels[static_cast<size_t>(number)].kind != KernelGroup::library || is_library_product(fused, number);
}

std::optional<RecordedTime> recorded_time(const Graph& fused, bool constant_parameters, const TunedSchedules& tuned,
                                          DeviceKind kind, const Bindings& sizes) {
  const std::vector<bool> once =
      constant_parameters ? constant_kernels(fused) : std::vector(fused.kernels.size(), false);
  RecordedTime all;
  for (size_t k = 0; k < fused.kernels.size(); ++k) {
    const int number = static_cast<int>(k);
    if (once[k] || !keeps_records(fused, number)) continue;
    const TuningRecord* record = tuned.measured(fused, number, kind, sizes);
    if (record == nullptr) return {};
    all.seconds += record->seconds;
    all.half += record->seconds * record->spread;  // layers share kernels, whose errors add up
  }
  return all;
}

bool has_two_fusions(const Graph& source, const PipelineOptions& options) {
  return options.fuse.library_contractions && has_small_projections(source);
}

PipelineOptions with_other_fusion(PipelineOptions options) {
  options.fuse.fuse_projections = !options.fuse.fuse_projections;
  return options;
}

namespace {

bool is_surely_faster(const RecordedTime& a, const RecordedTime& than) {
  constexpr double kWorthIt = 0.99;
  return a.seconds + a.half < kWorthIt * (than.seconds - than.half);
}

}  // namespace

TunedPipeline tuned_pipeline(const Graph& source, const PipelineOptions& options, const Bindings& sizes,
                             DeviceKind kind, const TunedSchedules* tuned) {
  TunedPipeline own{options, noted_pipeline(source, options), {}, {}};
  if (tuned == nullptr || tuned->empty() || !has_two_fusions(source, options)) return own;
  const auto time_of = [&](const TunedPipeline& made) {
    return recorded_time(made.result.graph, options.narrow_parameters, *tuned, kind, sizes);
  };
  own.time = time_of(own);
  if (!own.time) return own;
  const PipelineOptions changed = with_other_fusion(options);
  TunedPipeline other{changed, noted_pipeline(source, changed), {}, own.time};
  other.time = own.other_time = time_of(other);
  return other.time && is_surely_faster(*other.time, *own.time) ? std::move(other) : std::move(own);
}

}  // namespace mambac::tools
