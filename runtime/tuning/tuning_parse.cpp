#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "ir/error.h"
#include "runtime/tuning/tuning_fields.h"

namespace mambac {
namespace {

using nlohmann::json;

constexpr size_t kDigestDigits = 32;

// `where`: the path, the record and the key, as messages name them.

[[noreturn]] void refuse(const std::string& where, const std::string& found, const std::string& expected) {
  throw InputError(fmt::format("{}: found {}, expected {}", where, found, expected));
}

std::string shown(const json& value) {
  constexpr size_t kMost = 40;
  const std::string text = value.dump();
  return text.size() <= kMost ? text : text.substr(0, kMost) + "...";
}

void check_keys(const json& object, const std::string& where, const std::vector<std::string>& keys) {
  if (!object.is_object()) refuse(where, shown(object), "an object");
  for (const std::string& key : keys)
    if (!object.contains(key)) refuse(where, fmt::format("no '{}'", key), fmt::format("{}", fmt::join(keys, ", ")));
  for (const auto& [key, value] : object.items())
    if (std::ranges::find(keys, key) == keys.end())
      refuse(where, fmt::format("the key '{}'", key), fmt::format("{}", fmt::join(keys, ", ")));
}

int64_t whole_number(const json& in, const std::string& where, int64_t least, int64_t most) {
  const bool fits = in.is_number_integer() && !(in.is_number_unsigned() && in.get<uint64_t>() > INT64_MAX) &&
                    in.get<int64_t>() >= least && in.get<int64_t>() <= most;
  if (!fits) refuse(where, shown(in), fmt::format("a whole number from {} to {}", least, most));
  return in.get<int64_t>();
}

void read(const json& in, const std::string& where, std::string& out) {
  if (!in.is_string()) refuse(where, shown(in), "a text");
  out = in.get<std::string>();
}

void read(const json& in, const std::string& where, int& out) {
  out = static_cast<int>(whole_number(in, where, 0, std::numeric_limits<int>::max()));
}

/// None of a record's numbers can be negative.
void read(const json& in, const std::string& where, double& out) {
  if (!in.is_number() || !(in.get<double>() >= 0)) refuse(where, shown(in), "a number that is 0 or more");
  out = in.get<double>();
}

void read(const json& in, const std::string& where, Bindings& out) {
  if (!in.is_object()) refuse(where, shown(in), "an object of sizes");
  for (const auto& [name, size] : in.items())
    out[name] = whole_number(size, fmt::format("{}: '{}'", where, name), 1, std::numeric_limits<int64_t>::max());
}

void read(const json& in, const std::string& where, Schedule& out) {
  if (!in.is_object()) refuse(where, shown(in), "an object of axes");
  for (const auto& [axis, value] : in.items()) {
    const int most = Schedule::is_switch(axis) ? 1 : std::numeric_limits<int>::max();
    if (!out.set(axis, 0))
      refuse(where, fmt::format("the axis '{}'", axis), fmt::format("{}", fmt::join(Schedule::axes(), ", ")));
    out.set(axis, static_cast<int>(whole_number(value, fmt::format("{}: '{}'", where, axis), 0, most)));
  }
}

bool is_digest(const std::string& text) {
  return text.size() == kDigestDigits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// Dates are compared as texts, so they must have one form.
bool is_date(const std::string& text) {
  const std::string form = "dddd-dd-dd";
  const auto fits = [](char c, char wanted) { return wanted == 'd' ? c >= '0' && c <= '9' : c == wanted; };
  if (!std::ranges::equal(text, form, fits)) return false;
  const auto number = [&](size_t at, size_t digits) { return std::stoi(text.substr(at, digits)); };
  const std::chrono::month month(static_cast<unsigned>(number(5, 2)));
  const std::chrono::day day(static_cast<unsigned>(number(8, 2)));
  return std::chrono::year_month_day(std::chrono::year(number(0, 4)), month, day).ok();
}

TuningRecord record_from(const json& given, const std::string& where) {
  TuningRecord record;
  json in = given;
  if (in.is_object() && !in.contains(kInProgram)) in[kInProgram] = record.in_program;  // the one that may be missing
  std::vector<std::string> keys;
  each_field(record, [&](const char* name, const auto&) { keys.emplace_back(name); });
  check_keys(in, where, keys);
  each_field(record,
             [&](const char* name, auto& value) { read(in[name], fmt::format("{}: '{}'", where, name), value); });
  if (!is_digest(record.kernel)) refuse(where + ": 'kernel'", shown(in["kernel"]), "32 hexadecimal digits");
  if (!is_date(record.date)) refuse(where + ": 'date'", shown(in["date"]), "a date such as \"2026-11-27\"");
  return record;
}

/// The parser would keep the last of several values of one key without a word.
json parse_json(const std::string& text, const std::string& where) {
  std::vector<std::set<std::string>> keys;  // of the objects around a place
  const auto watch = [&](int, json::parse_event_t event, const json& value) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      refuse(where, fmt::format("the key {} twice in one object", shown(value)), "it once");
    return true;
  };
  try {
    return json::parse(text, watch);
  } catch (const json::exception& error) {
    const std::string what = error.what();
    throw InputError(fmt::format("{} is damaged: {}", where, what.substr(what.find("] ") + 2)));
  }
}

}  // namespace

TuningFile parse_tuning(const std::string& text, const std::string& path) {
  const std::string where = "'" + path + "'";
  const json in = parse_json(text, where);
  if (!in.is_object()) refuse(where, shown(in), "an object");
  if (in.contains("format") && in["format"] != kTuningFormat)
    refuse(where, "format " + shown(in["format"]), fmt::format("format {}: it is of another version", kTuningFormat));
  check_keys(in, where, {"format", "device", "records"});
  TuningFile file;
  read(in["device"], where + ": 'device'", file.device);
  if (file.device.empty()) refuse(where + ": 'device'", "\"\"", "the name of a device");
  if (!in["records"].is_array()) refuse(where + ": 'records'", shown(in["records"]), "a list");
  std::map<std::tuple<std::string, Bindings, int>, size_t> seen;
  for (const json& entry : in["records"]) {
    const size_t number = file.records.size() + 1;
    const bool named = entry.is_object() && entry.contains("name") && entry["name"].is_string();
    const std::string record =
        fmt::format("{}: record {}{}", where, number, named ? " (" + entry["name"].get<std::string>() + ")" : "");
    file.records.push_back(record_from(entry, record));
    if (const auto [first, is_new] = seen.emplace(file.records.back().work(), number); !is_new)
      refuse(record, fmt::format("the kernel, sizes and threads of record {} again", first->second),
             "one record of them");
  }
  return file;
}

}  // namespace mambac
