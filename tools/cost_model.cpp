#include "tools/cost_model.h"

#include <fmt/format.h>

#include <cmath>

#include "ir/error.h"
#include "tools/cpu_cost_model.h"
#include "tools/device_description.h"
#include "tools/gpu_cost_model.h"

namespace mambac::tools {

std::vector<Prediction> CostModel::predict(const Graph& fused, int number, const std::vector<Schedule>& schedules,
                                           const Bindings& sizes) {
  std::vector<Prediction> predictions = times(fused, number, schedules, sizes);
  for (const Prediction& one : predictions)
    if (!std::isfinite(one.seconds))
      throw InputError(
          fmt::format("the device description '{}': found numbers by which a kernel takes {} seconds, "
                      "expected such that times are finite",
                      name(), one.seconds));
  return predictions;
}

std::unique_ptr<CostModel> cost_model(const std::string& device) {
  DeviceDescription description = DeviceDescription::find(device);
  if (description.kind() == "gpu") return gpu_cost_model(gpu_of(std::move(description)));
  if (description.kind() == "cpu") return cpu_cost_model(cpu_of(std::move(description)));
  throw InputError(fmt::format("'{}' describes a {}, expected a gpu or a cpu", device, description.kind()));
}

}  // namespace mambac::tools
