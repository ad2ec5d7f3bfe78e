#include "tools/tuned_fusion.h"

#include <utility>

#include "passes/contraction.h"
#include "passes/fuse.h"
#include "passes/plan.h"
#include "tools/work_notes.h"

namespace mambac::tools {

std::optional<double> recorded_seconds(const Graph& fused, bool constant_parameters, const TunedSchedules& tuned,
                                       DeviceKind kind, const Bindings& sizes) {
  const std::vector<bool> once = constant_parameters ? constant_kernels(fused) : std::vector(fused.kernels.size(), false);
  double all = 0;
  for (size_t k = 0; k < fused.kernels.size(); ++k) {
    const int number = static_cast<int>(k);
    const bool look_up = fused.kernels[k].kind == KernelGroup::library && !is_library_product(fused, number);
    if (once[k] || look_up) continue;
    const TuningRecord* record = tuned.measured(fused, number, kind, sizes);
    if (record == nullptr) return {};
    all += record->seconds;
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

TunedPipeline tuned_pipeline(const Graph& source, const PipelineOptions& options, const Bindings& sizes,
                             DeviceKind kind, const TunedSchedules* tuned) {
  TunedPipeline own{options, noted_pipeline(source, options), {}, {}};
  if (tuned == nullptr || tuned->empty() || !has_two_fusions(source, options)) return own;
  const auto seconds = [&](const TunedPipeline& made) {
    return recorded_seconds(made.result.graph, options.narrow_parameters, *tuned, kind, sizes);
  };
  own.seconds = seconds(own);
  if (!own.seconds) return own;
  TunedPipeline other{with_other_fusion(options), noted_pipeline(source, with_other_fusion(options)), {}, own.seconds};
  other.seconds = own.other_seconds = seconds(other);
  return other.seconds && *other.seconds < *own.seconds ? std::move(other) : std::move(own);
}

}  // namespace mambac::tools
