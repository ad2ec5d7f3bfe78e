// Rankings of schedules by the cost model alone: for devices that are not there.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tools/tune_model.h"

namespace mambac::tools {

struct RankedSchedule {
  Schedule schedule;
  Prediction prediction;
};

struct PredictedKernel {
  KernelToTune kernel;
  RankedSchedule heuristic;
  std::vector<RankedSchedule> best;  // of the coarse space, the device's own among them, fastest first
};

/// Those of each kernel that are predicted to be the fastest, at most so many. Kernels without axes are left out.
std::vector<PredictedKernel> predict_schedules(std::vector<KernelToTune> kernels, CostModel& model, size_t most,
                                               const std::function<void(size_t done, size_t all)>& progress);

/// The name of the shipped description that is this device's: of a GPU the one whose name its name has in it ("h200" in
/// "NVIDIA H200"), else one of its architecture; of a CPU that of its architecture. Empty when there is none.
std::string description_of(const DeviceModel& device);
/// By that description, with as many threads as a CPU has here. Without one a CPU is measured, which takes some seconds
/// and is told to `note`. Null for a GPU without one, and for a CPU whose instructions LLVM has no times of.
std::unique_ptr<CostModel> cost_model_for(Device& device, const std::function<void(const std::string&)>& note);

}  // namespace mambac::tools
