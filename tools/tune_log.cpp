#include "tools/tune_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "runtime/json_depth.h"
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

[[noreturn]] void refuse_value(const Json& json) {
  throw InputError("found " + json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

int whole_number_in(const Json& json) {
  if (!json.is_number_integer()) refuse_value(json);
  const double value = json.get<double>();
  if (!(value >= 0 && value <= std::numeric_limits<int>::max())) refuse_value(json);
  return static_cast<int>(value);
}

double number_in(const Json& json, double least, double most) {
  const double value = json.get<double>();
  if (value != 0 && !(value >= least && value <= most)) refuse_value(json);
  return value;
}

Schedule schedule_of(const Json& json) {
  Schedule schedule;
  for (const auto& [axis, value] : json.items())
    if (!schedule.set(axis, whole_number_in(value))) refuse_value(json);
  return schedule;
}

Json line_json(const LoggedTrial& trial) {
  const TriedSchedule& tried = trial.tried;
  return {
      {"kernel", trial.task.kernel},   {"name", trial.task.name},       {"sizes", trial.task.sizes},
      {"threads", trial.task.threads}, {"toolkit", trial.task.toolkit}, {"driver", trial.task.driver},
      {"ratio", tried.ratio},          {"spread", tried.spread},        {"predicted", tried.predicted},
      {"error", tried.error},          {"wrong", tried.wrong},          {"schedule", schedule_json(tried.schedule)}};
}

LoggedTrial trial_of(const Json& json) {
  constexpr double kLeastRatio = 1e-6, kMostRatio = 1e6, kMost = 1e9;
  LoggedTrial trial;
  json.at("kernel").get_to(trial.task.kernel);
  json.at("name").get_to(trial.task.name);
  for (const auto& [name, size] : json.at("sizes").items()) {
    if (!size.is_number_integer()) refuse_value(size);
    trial.task.sizes[name] = size.get<int64_t>();
  }
  trial.task.threads = whole_number_in(json.at("threads"));
  json.at("toolkit").get_to(trial.task.toolkit);
  json.at("driver").get_to(trial.task.driver);
  trial.tried.schedule = schedule_of(json.at("schedule"));
  trial.tried.ratio = number_in(json.at("ratio"), kLeastRatio, kMostRatio);
  trial.tried.spread = number_in(json.at("spread"), 0, kMost);
  trial.tried.predicted = number_in(json.at("predicted"), 0, kMost);
  if (json.at("error").is_number()) trial.tried.error = number_in(json.at("error"), 0, kMost);  // null: infinite
  json.at("wrong").get_to(trial.tried.wrong);
  return trial;
}

/// Whether the last line has no end.
bool is_cut_off(int file) {
  struct stat status {};
  char last = '\n';
  return fstat(file, &status) == 0 && status.st_size > 0 && pread(file, &last, 1, status.st_size - 1) == 1 &&
         last != '\n';
}

/// 0, or what was the matter.
int append(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = write(file, text.data(), text.size());
    if (count < 0 && errno != EINTR) return errno;
    if (count == 0) return ENOSPC;
    text.remove_prefix(static_cast<size_t>(std::max<ssize_t>(count, 0)));
  }
  return 0;
}

std::string identity_of(const LoggedTrial& trial) {
  const TuneTask& task = trial.task;
  return Json{task.kernel, task.name, task.sizes, task.threads, task.toolkit, task.driver, trial.tried.schedule.str()}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

void TuneLog::add(const LoggedTrial& trial) const {
  const int file = open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  const std::string line = line_json(trial).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  const int error = file < 0 ? errno : append(file, (is_cut_off(file) ? "\n" : "") + line);
  if (file >= 0) close(file);
  if (error != 0)
    throw EnvironmentError(fmt::format("'{}' cannot be written: {}", path_.string(), std::strerror(error)));
}

std::vector<LoggedTrial> TuneLog::read() const {
  std::vector<LoggedTrial> trials;
  std::map<std::string, size_t> places;  // by task and schedule
  std::ifstream file(path_);
  for (std::string line; std::getline(file, line);) try {
      check_json_depth(line, path_.string());
      const LoggedTrial trial = trial_of(Json::parse(line));
      const auto [place, is_new] = places.emplace(identity_of(trial), trials.size());
      if (is_new)
        trials.push_back(trial);
      else
        trials[place->second] = trial;
    } catch (const Json::exception&) {
    } catch (const InputError&) {
    }
  return trials;
}

std::vector<TriedSchedule> tried_for(const TuneTask& task, const std::vector<LoggedTrial>& trials) {
  std::vector<TriedSchedule> found;
  for (const LoggedTrial& trial : trials)
    if (trial.task == task) found.push_back(trial.tried);
  return found;
}

}  // namespace mambac::tools
