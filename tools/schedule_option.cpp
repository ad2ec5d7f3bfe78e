#include "tools/schedule_option.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <set>

#include "codegen/kernel_name.h"
#include "codegen/lower.h"
#include "frontend/suggest.h"
#include "ir/error.h"
#include "passes/fuse.h"
#include "tools/work_notes.h"

namespace mambac::tools {
namespace {

struct Setting {
  std::string part;
  std::vector<std::pair<std::string, int>> axes;
  bool used = false;     // for at least one kernel
  bool ignored = false;  // by a kernel of a library

  bool has(std::string_view axis) const {
    return std::ranges::any_of(axes, [&](const auto& one) { return one.first == axis; });
  }
};

std::pair<std::string, int> parse_axis(const std::string& text) {
  const size_t equals = text.find('=');
  const std::string name = text.substr(0, equals);
  const std::string number = equals == std::string::npos ? "" : text.substr(equals + 1);
  const size_t first = number.starts_with('-') ? 1 : 0;
  if (first == number.size() || number.find_first_not_of("0123456789", first) != std::string::npos)
    throw InputError(fmt::format("--schedule: found '{}', expected AXIS=NUMBER", text));
  int value = 0;
  const bool in_range = std::from_chars(number.data(), number.data() + number.size(), value).ec == std::errc();
  if (!Schedule().set(name, value))
    throw InputError(fmt::format("--schedule: there is no axis '{}'{}; there are: {}", name,
                                 did_you_mean(name, Schedule::axes()), fmt::join(Schedule::axes(), ", ")));
  if (!in_range || value < 0)
    throw InputError(fmt::format("--schedule: found '{}', expected a number from 0 to {}", text, INT_MAX));
  if (Schedule::is_switch(name) && value > 1)
    throw InputError(fmt::format("--schedule: found '{}', expected {}=0 or {}=1", text, name, name));
  return {name, value};
}

Setting parse_setting(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos)
    throw InputError(fmt::format("--schedule: found '{}', expected PART-OF-KERNEL-NAME:AXIS=NUMBER,...", text));
  Setting setting{text.substr(0, colon), {}};
  for (size_t begin = colon + 1; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    setting.axes.push_back(parse_axis(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return setting;
}

}  // namespace

Option add_schedule(Command command, std::vector<std::string>& settings) {
  return command
      .add_option("--schedule", settings,
                  "axes of kernels whose name has PART in it, in the place of the device's choice: "
                  "PART:AXIS=NUMBER,...; k4 is kernel 4 of the fused graph; may be given several times")
      .repeatable()
      .type_name("");
}

std::vector<int> kernels_named(const std::string& text, const Graph& fused) {
  std::vector<int> named;
  std::vector<std::string> known;
  for (int number = 0; number < static_cast<int>(fused.kernels.size()); ++number) {
    if (names_kernel(text, fused, number)) named.push_back(number);
    known.push_back(fused.kernels[static_cast<size_t>(number)].name);
  }
  if (named.empty() && !text.empty())
    throw InputError(fmt::format("there is no kernel '{}'{}; there are k0 to k{}", text, did_you_mean(text, known),
                                 static_cast<int>(known.size()) - 1));
  return named;
}

struct ScheduleSettings::State {
  DeviceKind kind;
  Program::Scheduler chosen;
  std::vector<Setting> settings;
  std::set<std::string> kernels{};  // that were scheduled, by their names in emitted code
  int last = 0;                     // the highest number among them

  Schedule change(Schedule schedule, const Graph& fused, int number) {
    const bool library = library_node(fused, number).present();
    const std::string name = kernel_name(fused, number);
    kernels.insert(name);
    last = std::max(last, number);
    bool changed = false;
    for (Setting& setting : settings) {
      if (!names_kernel(setting.part, fused, number)) continue;
      if (library && !setting.has("algorithm")) {
        setting.ignored = true;
        continue;
      }
      for (const auto& [axis, value] : setting.axes)
        if (!library || axis == "algorithm") schedule.set(axis, value);
      setting.used = changed = true;
    }
    const std::string reason = changed ? why_illegal(fused, number, schedule, kind) : "";
    if (!reason.empty()) throw InputError(fmt::format("--schedule: kernel {}: {}", name, reason));
    return schedule;
  }
};

ScheduleSettings::ScheduleSettings(DeviceKind kind, Program::Scheduler chosen, const std::vector<std::string>& settings)
    : state_(std::make_shared<State>(State{kind, std::move(chosen), {}})) {
  for (const std::string& text : settings) state_->settings.push_back(parse_setting(text));
  note_schedule(settings);
}

Program::Scheduler ScheduleSettings::scheduler() const { return scheduler(state_->chosen); }

Program::Scheduler ScheduleSettings::scheduler(const Program::Scheduler& chosen) const {
  return [state = state_, chosen](const Graph& fused, int number) {
    return state->change(chosen(fused, number), fused, number);
  };
}

std::set<std::string> ScheduleSettings::asked(const Graph& fused, int number) const {
  std::set<std::string> axes;
  for (const Setting& setting : state_->settings)
    if (names_kernel(setting.part, fused, number))
      for (const auto& [axis, value] : setting.axes) axes.insert(axis);
  return axes;
}

void ScheduleSettings::check_used() const {
  for (const Setting& setting : state_->settings) {
    if (setting.used) continue;
    if (setting.ignored)
      throw InputError(fmt::format("--schedule: '{}' names calls of a library alone, which have no axis '{}'; expected "
                                   "algorithm", setting.part, setting.axes[0].first));
    throw InputError(fmt::format("--schedule: no kernel has '{}' in its name; there are, by number up to k{}: {}",
                                 setting.part, state_->last, fmt::join(state_->kernels, ", ")));
  }
}

}  // namespace mambac::tools
