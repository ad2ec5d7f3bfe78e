#include "tools/target.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/kernel_name.h"
#include "runtime/atomic_file.h"
#include "runtime/tuning/tuning_folder.h"
#include "tools/arguments.h"
#include "tools/kernel_work.h"

namespace mambac::tools {

Program::Scheduler Target::scheduler(const Bindings& sizes) const {
  return tuned_ == nullptr || tuned_->empty() ? schedules_of(device_) : tuned_->scheduler(schedules_of(device_), device_.kind(), sizes);
}

void add_tuned(Command command, std::string& tuned) {
  tuned = "auto";
  command
      .add_option("--tuned", tuned,
                  "schedules of kernels and the place of small projections: 'auto', by the records of 'mambac tune' for "
                  "this device; 'off', the device's own; or a FILE of "
                  "records, these and no others, so that results are the same to the bit")
      .show_default()
      .type_name("");
}

std::unique_ptr<TunedSchedules> tuned_schedules(const std::string& tuned, const DeviceModel& model) {
  if (tuned == "off") return nullptr;
  if (tuned != "auto") {
    TuningFile file = parse_tuning(read_file(tuned), tuned);
    if (file.device != model.name)
      throw InputError(fmt::format("--tuned: '{}' has records of {}, expected those of {}", tuned, file.device, model.name));
    return std::make_unique<TunedSchedules>(std::vector<TunedSchedules::Layer>{{RecordSource::pinned, std::move(file)}},
                                            model.threads, model.library);
  }
  std::vector<TunedSchedules::Layer> layers{{RecordSource::shipped, shipped_tuning(model.name)}};
  const std::filesystem::path folder = TuningFolder::default_folder();
  const auto pass_over = [](const Failure& failure) {
    talk(fmt::format("{}; its records are not used", failure.what()));
  };
  try {
    if (!folder.empty()) layers.push_back({RecordSource::user, TuningFolder(folder).read(model.name)});
  } catch (const InputError& damaged) {
    pass_over(damaged);
  } catch (const EnvironmentError& unreadable) {
    pass_over(unreadable);
  }
  return std::make_unique<TunedSchedules>(std::move(layers), model.threads, model.library);
}

std::string tuned_device(const std::string& description) {
  std::vector<std::string> devices = devices_with_shipped_tuning();
  if (const std::filesystem::path folder = TuningFolder::default_folder(); !folder.empty())
    for (const std::filesystem::path& file : TuningFolder(folder).files()) try {
        devices.push_back(parse_tuning(read_file(file), file.string()).device);
      } catch (const InputError&) {  // damaged, which 'tune verify' says
      }
  for (const std::string& device : devices)
    if (tuning_file_name(device).find(description) != std::string::npos) return device;
  return "";
}

namespace {

/// Below so many operations a program takes no time worth tuning.
constexpr double kMuchWork = 1e10;
constexpr double kMuchOfIt = 0.05;

double work_of(const KernelWork& work) {
  constexpr double kOfExponential = 16, kOfByte = 4;
  return work.flops + kOfExponential * work.exponentials + kOfByte * work.bytes();
}

}  // namespace

void notice_untuned(const Target& target, const Graph& fused, const Bindings& sizes) {
  static bool told = false;
  if (told || target.tuned() == nullptr) return;
  const std::vector<KernelWork> work = kernel_work(fused, sizes);
  double all = 0, untuned = 0;
  for (const KernelWork& one : work) all += work_of(one);
  if (all < kMuchWork) return;
  std::map<std::string, double> by_name;
  for (size_t k = 0; k < work.size(); ++k) {
    const int number = static_cast<int>(k);
    if (fused.kernels[k].kind == KernelGroup::library) continue;
    if (target.tuned()->find(fused, number, target.device().kind(), sizes).record != nullptr) continue;
    untuned += work_of(work[k]);
    by_name[kernel_name(fused, number)] += work_of(work[k]);
  }
  if (untuned < kMuchOfIt * all) return;
  told = true;
  const auto most = std::ranges::max_element(by_name, {}, [](const auto& one) { return one.second; });
  talk(fmt::format("{} kernel{} {} not tuned for {}, {} among them; 'mambac tune' finds faster schedules, --tuned off "
                   "keeps this quiet",
                   by_name.size(), by_name.size() == 1 ? "" : "s", by_name.size() == 1 ? "is" : "are",
                   target.device().model().name, most->first));
}

}  // namespace mambac::tools
