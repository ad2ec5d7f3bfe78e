#include "tools/tune_predict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "codegen/llvm_jit.h"
#include "ir/error.h"
#include "tools/calibrate.h"
#include "tools/cpu_cost_model.h"
#include "tools/device_description.h"

namespace mambac::tools {
namespace {

/// "nvidiah200" of "NVIDIA H200".
std::string letters_of(const std::string& name) {
  std::string letters;
  for (const char c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) != 0)
      letters += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return letters;
}

}  // namespace

std::vector<PredictedKernel> predict_schedules(std::vector<KernelToTune> kernels, CostModel& model, size_t most,
                                               const std::function<void(size_t done, size_t all)>& progress) {
  std::vector<PredictedKernel> predicted;
  for (size_t k = 0; k < kernels.size(); ++k) {
    progress(k, kernels.size());
    KernelToTune& kernel = kernels[k];
    if (kernel.kind == KernelGroup::library) continue;
    const Schedule own = model.heuristic(kernel.alone, 0);
    std::vector<Schedule> schedules = coarse_schedules(kernel.alone, 0, own, model.kind());
    schedules.insert(schedules.begin(), own);
    const std::vector<Prediction> predictions = model.predict(kernel.alone, 0, schedules, kernel.task.sizes);
    PredictedKernel one{std::move(kernel), {own, predictions[0]}, {}};
    for (size_t i = 0; i < schedules.size(); ++i) one.best.push_back({schedules[i], predictions[i]});
    std::ranges::stable_sort(one.best, {}, [](const RankedSchedule& ranked) { return ranked.prediction.seconds; });
    one.best.resize(std::min(most, one.best.size()));
    predicted.push_back(std::move(one));
  }
  progress(kernels.size(), kernels.size());
  return predicted;
}

std::string description_of(const DeviceModel& device) {
  std::string found;
  for (const std::string& name : DeviceDescription::shipped("")) {
    const bool named = letters_of(device.name).find(letters_of(name)) != std::string::npos;
    const bool alike = DeviceDescription::find(name).text("architecture") == device.architecture;
    if (named || (alike && found.empty())) found = name;
  }
  return found;
}

std::unique_ptr<CostModel> cost_model_for(Device& device, const std::function<void(const std::string&)>& note) {
  const DeviceModel model = device.model();
  const std::string name = description_of(model);
  if (name.empty() && device.kind() == DeviceKind::cpu && Jit(model.architecture).knows_clocks()) {
    note(fmt::format("no description of {} is shipped, so it is measured first; --calibrate writes that to a file",
                     model.name));
    return cpu_cost_model(cpu_of(DeviceDescription(model.name, calibrated(device))));
  }
  if (name.empty()) return nullptr;
  DeviceDescription description = DeviceDescription::find(name);
  if (description.kind() != "cpu") return cost_model(name);
  Cpu cpu = cpu_of(std::move(description));
  cpu.threads = model.threads;
  return cpu_cost_model(std::move(cpu));
}

}  // namespace mambac::tools
