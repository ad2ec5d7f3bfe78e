#include "runtime/tuning/tuning_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "runtime/tuning/tuning_fields.h"

namespace mambac {
namespace {

using nlohmann::json;

// The numbers are the shortest that are read as the same ones.

std::string text_of(const std::string& text) {
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}
std::string text_of(int number) {
  return fmt::to_string(number);
}
std::string text_of(double number) {
  return fmt::format("{}", number);
}

void add_member(std::string& object, const std::string& name, const std::string& value) {
  object += fmt::format("{}{}: {}", object.empty() ? "" : ", ", text_of(name), value);
}

std::string text_of(const Bindings& sizes) {
  std::string members;
  for (const auto& [name, size] : sizes) add_member(members, name, fmt::to_string(size));
  return "{" + members + "}";
}

std::string text_of(const Schedule& schedule) {
  std::string members;
  const auto values = schedule.values(), usual = Schedule().values();
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i] != usual[i]) add_member(members, values[i].first, text_of(values[i].second));
  return "{" + members + "}";
}

std::string text_of(const TuningRecord& record) {
  std::string members;
  each_field(record, [&](const std::string& name, const auto& value) {
    if (name != kInProgram || record.in_program > 0) add_member(members, name, text_of(value));
  });
  return "{" + members + "}";
}

}  // namespace

std::string tuning_text(const TuningFile& file) {
  std::vector<const TuningRecord*> records;
  for (const TuningRecord& record : file.records) records.push_back(&record);
  std::ranges::sort(records, {},
                    [](const TuningRecord* r) { return std::tie(r->name, r->kernel, r->sizes, r->threads); });
  std::string text =
      fmt::format("{{\"format\": {}, \"device\": {}, \"records\": [", kTuningFormat, text_of(file.device));
  for (const TuningRecord* record : records) text += (record == records[0] ? "\n  " : ",\n  ") + text_of(*record);
  text += "\n]}\n";
  try {
    parse_tuning(text, "records");
  } catch (const InputError& failure) {
    throw InternalError(fmt::format("tuning_text: {}", failure.what()));
  }
  return text;
}

MergeCounts merge(TuningFile& into, const TuningFile& from) {
  check(into.device == from.device, "merge: records of two devices");
  std::map<std::tuple<std::string, Bindings, int>, size_t> places;
  for (size_t i = 0; i < into.records.size(); ++i) places.emplace(into.records[i].work(), i);
  MergeCounts counts;
  for (const TuningRecord& record : from.records) {
    const auto [place, is_new] = places.emplace(record.work(), into.records.size());
    if (is_new) {
      into.records.push_back(record);
      ++counts.added;
      continue;
    }
    TuningRecord& there = into.records[place->second];
    ++(record == there ? counts.same : record.date < there.date ? counts.older : counts.replaced);
    if (record.date >= there.date) there = record;
  }
  return counts;
}

}  // namespace mambac
