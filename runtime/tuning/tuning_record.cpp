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
    const bool left_out =
        (name == kInProgram && record.in_program == 0) || (name == kUnfinished && record.unfinished == 0);
    if (!left_out) add_member(members, name, text_of(value));
  });
  return "{" + members + "}";
}

bool comes_later(const TuningRecord& a, const TuningRecord& b) {
  return a.date != b.date ? a.date > b.date : text_of(a) > text_of(b);
}

}  // namespace

std::string time_text(std::time_t time) {
  std::tm parts{};
  gmtime_r(&time, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

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

MergeCounts merge(TuningFile& into, const TuningFile& from, MergeRule rule) {
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
    const bool stays = rule == MergeRule::from || comes_later(record, there);
    ++(record == there ? counts.same : stays ? counts.replaced : counts.older);
    if (stays) there = record;
  }
  return counts;
}

}  // namespace mambac
