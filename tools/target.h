// Where programs run, and under which schedules.
#pragma once

#include <memory>
#include <string>

#include "runtime/tuning/tuned_schedules.h"
#include "tools/command_line.h"

namespace mambac::tools {

/// A device, and the tuned schedules that its programs get; without any, the device's own.
class Target {
 public:
  Target(Device& device, TunedSchedules* tuned = nullptr) : device_(device), tuned_(tuned) {}

  Device& device() const { return device_; }
  TunedSchedules* tuned() const { return tuned_; }
  /// For programs of these sizes. The target's parts must outlive it.
  Program::Scheduler scheduler(const Bindings& sizes) const;

 private:
  Device& device_;
  TunedSchedules* tuned_;
};

/// Declares --tuned with the default "auto".
void add_tuned(Command command, std::string& tuned);

/// What a --tuned says for a device model. "auto": the user's records over those that every build carries; a damaged
/// file of the user's is told of and left out. "off": none, null. Else the path of a file: its records and no others,
/// whatever the user has. InputError when that is damaged or of another device.
std::unique_ptr<TunedSchedules> tuned_schedules(const std::string& tuned, const DeviceModel& model);

/// The name under which records of a described GPU are kept: one of a device whose name has the description's in it
/// ("NVIDIA H200" for "h200"); empty when there are none.
std::string tuned_device(const std::string& description);

/// Says once in a process that kernels which much of the program's time goes to have no tuned schedule.
void notice_untuned(const Target& target, const Graph& fused, const Bindings& sizes);

}  // namespace mambac::tools
