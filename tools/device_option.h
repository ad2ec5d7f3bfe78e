// The option --device: where a command runs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "runtime/device.h"
#include "tools/target.h"

namespace mambac::tools {

/// Declares --device with the default "cpu". Other text than "cpu", "cuda-emulated", "cuda" and "cuda:N", and
/// "reference" where `with_reference` says so, is a mistake of usage; a near name is named.
void add_device(Command command, std::string& device, bool with_reference = false);

/// Declares --devices with the default "cpu,reference": two different ones of those that --device has, the reference
/// included.
void add_devices(Command command, std::string& devices);

/// The two names of a --devices.
std::pair<std::string, std::string> device_pair(const std::string& devices);

/// ", used 3.1 MB" of the host's memory, or where it lies instead: ", on cuda:0".
std::string used_text(const std::optional<int64_t>& used, const std::string& device);

/// A device that was asked for by name, and the tuned schedules for it, for as long as this object lives.
class ChosenDevice {
 public:
  /// `name` as add_device lets it pass, but for "reference", which is no device; `tuned` is a --tuned. EnvironmentError
  /// when the machine has no such GPU.
  ChosenDevice(const std::string& name, const std::string& tuned);
  Device& operator*() const { return *device_; }
  Device* operator->() const { return device_; }
  Target target() const { return {*device_, tuned_.get()}; }
  /// From now on the records of a file and no others, where they are this device's.
  void pin(const std::string& file);
  /// The records that programs got schedules from so far, as such a file's text.
  std::string used_records() const;

 private:
  std::unique_ptr<Device> owned_;
  Device* device_;
  std::unique_ptr<TunedSchedules> tuned_;
};

}  // namespace mambac::tools
