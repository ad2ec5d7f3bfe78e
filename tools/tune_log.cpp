#include "tools/tune_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "tools/arguments.h"

namespace mambac::tools {
namespace {

Json schedule_json(const Schedule& schedule) {
  Json json = Json::object();
  const auto usual = Schedule{}.values();
  const auto values = schedule.values();
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i] != usual[i]) json[values[i].first] = values[i].second;
  return json;
}

Schedule schedule_of(const Json& json) {
  Schedule schedule;
  for (const auto& [axis, value] : json.items())
    if (!schedule.set(axis, value.get<int>())) throw InputError("there is no axis " + axis);
  return schedule;
}

Json line_json(const LoggedTrial& trial) {
  const TriedSchedule& tried = trial.tried;
  return {{"kernel", trial.task.kernel},   {"name", trial.task.name},       {"sizes", trial.task.sizes},
          {"threads", trial.task.threads}, {"ratio", tried.ratio},          {"spread", tried.spread},
          {"predicted", tried.predicted},  {"error", tried.error},          {"wrong", tried.wrong},
          {"schedule", schedule_json(tried.schedule)}};
}

LoggedTrial trial_of(const Json& json) {
  LoggedTrial trial;
  json.at("kernel").get_to(trial.task.kernel);
  json.at("name").get_to(trial.task.name);
  for (const auto& [name, size] : json.at("sizes").items()) trial.task.sizes[name] = size.get<int64_t>();
  json.at("threads").get_to(trial.task.threads);
  trial.tried.schedule = schedule_of(json.at("schedule"));
  json.at("ratio").get_to(trial.tried.ratio);
  json.at("spread").get_to(trial.tried.spread);
  json.at("predicted").get_to(trial.tried.predicted);
  if (json.at("error").is_number()) json.at("error").get_to(trial.tried.error);  // null: infinite
  json.at("wrong").get_to(trial.tried.wrong);
  return trial;
}

}  // namespace

void TuneLog::add(const LoggedTrial& trial) const {
  const std::string line = line_json(trial).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  const int file = open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  const bool written = file >= 0 && write(file, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  const int error = errno;
  if (file >= 0) close(file);
  if (!written) throw EnvironmentError(fmt::format("'{}' cannot be written: {}", path_.string(), std::strerror(error)));
}

std::vector<LoggedTrial> TuneLog::read() const {
  std::vector<LoggedTrial> trials;
  std::ifstream file(path_);
  for (std::string line; std::getline(file, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_discarded()) continue;
    try {
      trials.push_back(trial_of(json));
    } catch (const Json::exception&) {
    } catch (const InputError&) {
    }
  }
  return trials;
}

std::vector<TriedSchedule> TuneLog::of(const TuneTask& task) const {
  std::vector<TriedSchedule> found;
  for (const LoggedTrial& trial : read())
    if (trial.task == task) found.push_back(trial.tried);
  return found;
}

}  // namespace mambac::tools
