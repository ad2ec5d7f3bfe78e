#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "ir/error.h"
#include "runtime/json_depth.h"
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
  const std::string text = value.dump(-1, ' ', true);
  return text.size() <= kMost ? text : text.substr(0, kMost) + "...";
}

/// A name of others, as messages may show it.
std::string shown_name(const std::string& name) {
  const std::string quoted = json(name).dump(-1, ' ', true);
  return quoted.substr(1, quoted.size() - 2);
}

void check_keys(const json& object, const std::string& where, const std::vector<std::string>& keys) {
  if (!object.is_object()) refuse(where, shown(object), "an object");
  for (const std::string& key : keys)
    if (!object.contains(key)) refuse(where, fmt::format("no '{}'", key), fmt::format("{}", fmt::join(keys, ", ")));
  for (const auto& [key, value] : object.items())
    if (std::ranges::find(keys, key) == keys.end())
      refuse(where, fmt::format("the key '{}'", shown_name(key)), fmt::format("{}", fmt::join(keys, ", ")));
}

int64_t whole_number(const json& in, const std::string& where, int64_t least, int64_t most) {
  const bool fits = in.is_number_integer() && !(in.is_number_unsigned() && in.get<uint64_t>() > INT64_MAX) &&
                    in.get<int64_t>() >= least && in.get<int64_t>() <= most;
  if (!fits) refuse(where, shown(in), fmt::format("a whole number from {} to {}", least, most));
  return in.get<int64_t>();
}

/// What a terminal may obey: in UTF-8, those below a space, of deletion, and from U+0080 to U+009F.
bool has_control_characters(const std::string& text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]),
               next = static_cast<unsigned char>(text[std::min(i + 1, text.size() - 1)]);
    if (c < 0x20 || c == 0x7f || (c == 0xc2 && next < 0xa0)) return true;
  }
  return false;
}

void read(const json& in, const std::string& where, std::string& out) {
  if (!in.is_string()) refuse(where, shown(in), "a text");
  out = in.get<std::string>();
  if (has_control_characters(out)) refuse(where, shown(in), "a text without control characters");
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
  for (const auto& [name, size] : in.items()) {
    std::string checked;
    read(json(name), where, checked);
    out[checked] = whole_number(size, fmt::format("{}: '{}'", where, name), 1, std::numeric_limits<int64_t>::max());
  }
}

void read(const json& in, const std::string& where, Schedule& out) {
  if (!in.is_object()) refuse(where, shown(in), "an object of axes");
  for (const auto& [axis, value] : in.items()) {
    const int most = Schedule::is_switch(axis) ? 1 : std::numeric_limits<int>::max();
    if (!out.set(axis, 0))
      refuse(where, fmt::format("the axis '{}'", shown_name(axis)),
             fmt::format("{}", fmt::join(Schedule::axes(), ", ")));
    out.set(axis, static_cast<int>(whole_number(value, fmt::format("{}: '{}'", where, axis), 0, most)));
  }
}

bool is_digest(const std::string& text) {
  return text.size() == kDigestDigits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// Dates are compared as texts, so they must have one of two forms.
bool is_date(const std::string& text) {
  constexpr std::string_view kForm = "dddd-dd-ddTdd:dd:ddZ", kDay = "dddd-dd-dd";
  const std::string_view form = text.size() == kDay.size() ? kDay : kForm;
  const auto fits = [](char c, char wanted) { return wanted == 'd' ? c >= '0' && c <= '9' : c == wanted; };
  if (!std::ranges::equal(text, form, fits)) return false;
  const auto number = [&](size_t at, size_t digits) { return std::stoi(text.substr(at, digits)); };
  const std::chrono::month month(static_cast<unsigned>(number(5, 2)));
  const std::chrono::day day(static_cast<unsigned>(number(8, 2)));
  if (form == kForm && (number(11, 2) > 23 || number(14, 2) > 59 || number(17, 2) > 60)) return false;
  return std::chrono::year_month_day(std::chrono::year(number(0, 4)), month, day).ok();
}

TuningRecord record_from(const json& given, const std::string& where) {
  TuningRecord record;
  json in = given;
  if (in.is_object())
    for (const char* optional : {kInProgram, kUnfinished})
      if (!in.contains(optional)) in[optional] = 0;
  std::vector<std::string> keys;
  each_field(record, [&](const char* name, const auto&) { keys.emplace_back(name); });
  check_keys(in, where, keys);
  each_field(record,
             [&](const char* name, auto& value) { read(in[name], fmt::format("{}: '{}'", where, name), value); });
  if (!is_digest(record.kernel)) refuse(where + ": 'kernel'", shown(in["kernel"]), "32 hexadecimal digits");
  if (record.unfinished > 1) refuse(where + ": 'unfinished'", shown(in[kUnfinished]), "0 or 1");
  if (!is_date(record.date))
    refuse(where + ": 'date'", shown(in["date"]), "a date such as \"2026-11-27T16:05:09Z\" or \"2026-11-27\"");
  return record;
}

/// The parser would keep the last of several values of one key without a word.
json parse_json(const std::string& text, const std::string& where) {
  check_json_depth(text, where);
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
    throw ForeignRecords(fmt::format("{}: found format {}, expected format {}: it is of another version", where,
                                     shown(in["format"]), kTuningFormat));
  check_keys(in, where, {"format", "device", "records"});
  TuningFile file;
  read(in["device"], where + ": 'device'", file.device);
  if (file.device.empty()) refuse(where + ": 'device'", "\"\"", "the name of a device");
  if (!in["records"].is_array()) refuse(where + ": 'records'", shown(in["records"]), "a list");
  std::map<std::tuple<std::string, Bindings, int>, size_t> seen;
  for (const json& entry : in["records"]) {
    const size_t number = file.records.size() + 1;
    const bool named = entry.is_object() && entry.contains("name") && entry["name"].is_string();
    const std::string record = fmt::format("{}: record {}{}", where, number,
                                           named ? " (" + shown_name(entry["name"].get<std::string>()) + ")" : "");
    file.records.push_back(record_from(entry, record));
    if (const auto [first, is_new] = seen.emplace(file.records.back().work(), number); !is_new)
      refuse(record, fmt::format("the kernel, sizes and threads of record {} again", first->second),
             "one record of them");
  }
  return file;
}

}  // namespace mambac
