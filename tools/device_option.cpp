#include "tools/device_option.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "frontend/suggest.h"
#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/cpu_device.h"
#include "runtime/cuda/cuda_device.h"
#include "runtime/cuda/emulated_device.h"
#include "runtime/progress.h"
#include "tools/arguments.h"

namespace mambac::tools {
namespace {

/// The number of a GPU: 0 for "cuda", N for "cuda:N"; nothing for other text.
std::optional<int> cuda_ordinal(const std::string& name) {
  if (name == "cuda") return 0;
  constexpr std::string_view kPrefix = "cuda:";
  int ordinal = 0;
  const char* end = name.data() + name.size();
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const auto [last, error] = std::from_chars(name.data() + kPrefix.size(), end, ordinal);
  return error == std::errc() && last == end && ordinal >= 0 ? std::optional(ordinal) : std::nullopt;
}

/// What is wrong with a name; empty when nothing is.
std::string complaint(const std::string& name, const std::vector<std::string>& known) {
  if (std::ranges::count(known, name) > 0 || cuda_ordinal(name)) return "";
  const std::string near = name.starts_with("cuda:") ? "" : did_you_mean(name, known);
  return fmt::format("there is no device '{}'{}; there are: {}, and cuda:N, a GPU by its number from 0", name, near,
                     fmt::join(known, ", "));
}

std::vector<std::string> known_devices(bool with_reference) {
  std::vector<std::string> known{"cpu", "cuda-emulated", "cuda"};
  if (with_reference) known.insert(known.begin() + 1, "reference");
  return known;
}

/// What is wrong with a --devices.
std::string complaint_about_pair(const std::string& devices) {
  const auto [first, second] = device_pair(devices);
  if (first.empty() || second.empty() || first == second)
    return fmt::format("found '{}', expected two different devices with a comma between them", devices);
  const std::vector<std::string> known = known_devices(true);
  const std::string wrong = complaint(first, known);
  return wrong.empty() ? complaint(second, known) : wrong;
}

}  // namespace

std::pair<std::string, std::string> device_pair(const std::string& devices) {
  const size_t comma = devices.find(',');
  if (comma == std::string::npos) return {devices, ""};
  return {devices.substr(0, comma), devices.substr(comma + 1)};
}

void add_devices(Command command, std::string& devices) {
  devices = "cpu,reference";
  command
      .add_option("--devices", devices,
                  fmt::format("two of {} or cuda:N", fmt::join(known_devices(true), ", ")))
      .show_default()
      .type_name("A,B")
      .check(complaint_about_pair);
}

void add_device(Command command, std::string& device, bool with_reference) {
  const std::vector<std::string> known = known_devices(with_reference);
  device = "cpu";
  command.add_option("--device", device, fmt::format("where to run: {} or cuda:N", fmt::join(known, ", ")))
      .show_default()
      .type_name("")
      .check([known](const std::string& name) { return complaint(name, known); });
}

std::string used_text(const std::optional<int64_t>& used, const std::string& device) {
  return used ? fmt::format(", used {}", byte_text(static_cast<double>(*used))) : ", on " + device;
}

ChosenDevice::ChosenDevice(const std::string& name, const std::string& tuned) {
  if (name == "cuda-emulated")
    owned_ = emulated_cuda_device();
  else if (const auto ordinal = cuda_ordinal(name))
    owned_ = make_cuda_device(*ordinal, talk);
  else
    check(name == "cpu", "ChosenDevice: no name of a device");
  device_ = owned_ ? owned_.get() : &cpu_device();
  tuned_ = tuned_schedules(tuned, device_->model());
}

void ChosenDevice::pin(const std::string& file) {
  if (parse_tuning(read_file(file), file).device == device_->model().name)
    tuned_ = tuned_schedules(file, device_->model());
}

std::string ChosenDevice::used_records() const {
  return tuning_text({device_->model().name, tuned_ ? tuned_->used() : std::vector<TuningRecord>()});
}

}  // namespace mambac::tools
