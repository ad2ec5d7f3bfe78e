#include "runtime/training_record.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/json_depth.h"

namespace mambac {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

/// Calls visit(name, field) for every setting, so that reading and writing cannot differ.
template <class Settings, class Visit>
void each_setting(Settings& settings, Visit visit) {
  visit("steps", settings.steps);
  visit("minutes", settings.minutes);
  visit("learning_rate", settings.learning_rate);
  visit("warmup", settings.warmup);
  visit("final_fraction", settings.final_fraction);
  visit("beta1", settings.beta1);
  visit("beta2", settings.beta2);
  visit("epsilon", settings.epsilon);
  visit("weight_decay", settings.weight_decay);
  visit("clip", settings.clip);
  visit("accumulate", settings.accumulate);
  visit("seed", settings.seed);
  visit("evaluations", settings.evaluations);
  visit("valid_windows", settings.valid_windows);
  visit("checkpoint_minutes", settings.checkpoint_minutes);
}

template <class Record, class Visit>
void each_number(Record& record, Visit visit) {
  visit("step", record.step);
  visit("bytes", record.bytes);
  visit("seconds", record.seconds);
  visit("step_seconds", record.step_seconds);
  visit("rng_counter", record.rng_counter);
  visit("loss_sum", record.loss_sum);
  visit("loss_steps", record.loss_steps);
  visit("best_step", record.best_step);
}

ordered_json point_json(const CurvePoint& point) {
  ordered_json out = {point.step, point.bytes, point.seconds, point.learning_rate, point.train_bits_per_byte, nullptr};
  if (point.valid_bits_per_byte) out[5] = *point.valid_bits_per_byte;
  return out;
}

CurvePoint point_from(const json& in) {
  CurvePoint point{in.at(0), in.at(1), in.at(2), in.at(3), in.at(4), std::nullopt};
  if (!in.at(5).is_null()) point.valid_bits_per_byte = in.at(5).get<double>();
  return point;
}

}  // namespace

std::string training_record_text(const TrainingRecord& record) {
  ordered_json out = ordered_json::object();
  each_number(record, [&](const char* name, const auto& value) { out[name] = value; });
  out["best_valid"] = record.best_valid ? ordered_json(*record.best_valid) : ordered_json(nullptr);
  each_setting(record.settings, [&](const char* name, const auto& value) { out["settings"][name] = value; });
  out["curve"] = ordered_json::array();
  for (const CurvePoint& point : record.curve) out["curve"].push_back(point_json(point));
  return out.dump(1) + "\n";
}

TrainingRecord read_training_record(const std::filesystem::path& checkpoint) {
  const std::filesystem::path path = checkpoint / "training.json";
  const std::string text = read_file(path);
  check_json_depth(text, fmt::format("'{}'", path.string()));
  TrainingRecord record;
  try {
    const json in = json::parse(text);
    each_number(record, [&](const char* name, auto& value) { in.at(name).get_to(value); });
    if (!in.at("best_valid").is_null()) record.best_valid = in["best_valid"].get<double>();
    each_setting(record.settings, [&](const char* name, auto& value) { in.at("settings").at(name).get_to(value); });
    for (const json& point : in.at("curve")) record.curve.push_back(point_from(point));
  } catch (const json::exception& error) {
    throw InputError(fmt::format("'{}' is damaged: {}", path.string(), error.what()));
  }
  return record;
}

}  // namespace mambac
