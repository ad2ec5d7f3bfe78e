// Kernels as users name them, and the option --schedule: axes of the mapping of chosen kernels, in the place of what
// the device chose.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "runtime/program.h"
#include "tools/command_line.h"

namespace mambac::tools {

/// Declares --schedule, which may be given several times.
Option add_schedule(Command command, std::vector<std::string>& settings);

/// The kernels of a graph that a text of the user's names (names_kernel in codegen/kernel_name.h). InputError when it
/// names none.
std::vector<int> kernels_named(const std::string& text, const Graph& fused);

/// A scheduler whose choice is changed by "PART:AXIS=NUMBER,AXIS=NUMBER" texts, each for the kernels that PART names
/// (names_kernel in codegen/kernel_name.h).
class ScheduleSettings {
 public:
  /// InputError for other text and unknown axes.
  ScheduleSettings(DeviceKind kind, Program::Scheduler chosen, const std::vector<std::string>& settings);

  /// InputError, when it is called, for what is illegal for a kernel.
  Program::Scheduler scheduler() const;
  /// The same over another choice than that of the device.
  Program::Scheduler scheduler(const Program::Scheduler& chosen) const;
  /// The axes of a kernel that settings are for.
  std::set<std::string> asked(const Graph& fused, int number) const;
  /// InputError when a setting is for none of the kernels that were scheduled so far.
  void check_used() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // of all copies of the scheduler
};

}  // namespace mambac::tools
