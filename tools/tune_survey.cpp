#include "tools/tune_survey.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tools/arguments.h"

namespace mambac::tools {
namespace {

Json schedules_json(const SurveyedKernel& surveyed) {
  Json list = Json::array();
  for (const TriedSchedule& tried : surveyed.tried)
    if (tried.wrong.empty())
      list.push_back({{"schedule", tried.schedule.str()},
                      {"ratio", tried.ratio},
                      {"spread", tried.spread},
                      {"predicted_s", tried.predicted}});
  return list;
}

Json kernel_json(const TunedKernel& one) {
  Json json = {{"name", one.kernel.task.name}, {"sizes", one.kernel.task.sizes}, {"rejected", one.wrong}};
  if (!one.surveyed) return json;
  json["seconds"] = one.surveyed->seconds;
  json["predicted_s"] = one.surveyed->predicted_seconds;
  json["tried"] = schedules_json(*one.surveyed);
  if (const std::optional<PredictionQuality>& quality = one.surveyed->quality) {
    json["schedules"] = quality->count;
    json["fastest"] = quality->fastest;
    json["slowest"] = quality->slowest;
    json["rank_correlation"] = quality->rank_correlation;
    json["told_apart"] = quality->told_apart;
    json["ordered"] = quality->ordered ? Json(*quality->ordered) : Json();
    json["best_of_five"] = quality->best_of_five;
  }
  return json;
}

void print_kernel(const TunedKernel& one) {
  if (!one.surveyed) return fmt::print("{:<60} no time was left\n", one.kernel.task.name);
  fmt::print("{:<60}{:>10.4f}{:>11.4f}", one.kernel.task.name, 1e3 * one.surveyed->seconds,
             1e3 * one.surveyed->predicted_seconds);
  if (const std::optional<PredictionQuality>& quality = one.surveyed->quality)
    fmt::print("{:>9.2f}{:>9.2f}{:>13.2f}{:>12.0f}%{:>9}{:>14.2f}\n", quality->fastest, quality->slowest,
               quality->rank_correlation, 100 * quality->told_apart,
               quality->ordered ? fmt::format("{:.0f}%", 100 * *quality->ordered) : "-", quality->best_of_five);
  else
    fmt::print("  too few schedules\n");
}

}  // namespace

void print_survey(const std::vector<TunedKernel>& kernels, bool json) {
  if (json) {
    Json list = Json::array();
    for (const TunedKernel& one : kernels) list.push_back(kernel_json(one));
    return print_json(list);
  }
  fmt::print("{:<60}{:>10}{:>11}{:>9}{:>9}{:>13}{:>13}{:>9}{:>14}\n", "", "own, ms", "predicted", "fastest", "slowest",
             "correlation", "told apart", "ordered", "best of five");
  for (const TunedKernel& one : kernels) print_kernel(one);
  fmt::print(
      "times of the fastest and the slowest schedule are relative to the device's own; pairs of schedules are told "
      "apart when their times differ by more than their 95% intervals, and ordered when the predictions order them so; "
      "the best of the five that are predicted to be the fastest is relative to the best of all\n");
}

}  // namespace mambac::tools
