#include "tools/device_description.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "frontend/suggest.h"
#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/json_depth.h"
#include "tools/arguments.h"
#include "tools/device_files.h"

namespace mambac::tools {
namespace {

constexpr std::string_view kEnding = ".json";

/// "h200" of "h200.json".
std::string name_of(const EmbeddedFile& file) {
  return std::string(file.file.substr(0, file.file.size() - kEnding.size()));
}

bool is_path(const std::string& device) {
  return device.find('/') != std::string::npos || device.ends_with(kEnding);
}

}  // namespace

std::vector<std::string> DeviceDescription::shipped(std::string_view kind) {
  std::vector<std::string> names;
  for (const EmbeddedFile& file : device_files())
    if (kind.empty() || DeviceDescription(name_of(file), file.text).kind() == kind) names.push_back(name_of(file));
  return names;
}

DeviceDescription DeviceDescription::find(const std::string& device, std::string_view kind) {
  if (is_path(device)) return {device, read_file(device, size_t{1} << 20)};
  if (const EmbeddedFile* file = find_embedded(device_files(), device + std::string(kEnding)))
    return {device, file->text};
  const std::vector<std::string> known = shipped(kind);
  throw InputError(fmt::format("found '{}', expected {}, or the path of a file{}", device, fmt::join(known, " or "),
                               did_you_mean(device, known)));
}

DeviceDescription::DeviceDescription(std::string name, std::string_view text) : name_(std::move(name)) {
  check_json_depth(text, fmt::format("the device description '{}'", name_));
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) fail(json.is_discarded() ? "no JSON" : json.type_name(), "an object");
  for (const auto& [field, value] : json.items()) {
    if (value.is_string())
      texts_[field] = value.get<std::string>();
    else if (value.is_number() && value.get<double>() > 0 && std::isfinite(value.get<double>()))
      numbers_[field] = value.get<double>();
    else if (field != "sources")
      fail(fmt::format("{}: {}", field, value.dump()), "a text or a number above 0");
  }
  if (!texts_.contains("kind")) fail("no kind", "gpu or cpu");
  const Json sources = json.value("sources", Json());
  if (!sources.is_object() || sources.empty()) fail("no sources", "documents, each with its fields");
  for (const auto& [document, fields] : sources.items()) {
    documents_.push_back(document);
    for (const Json& field : fields) {
      if (!field.is_string() || !numbers_.contains(field.get<std::string>()))
        fail(fmt::format("{} in the sources", field.dump()), "the name of a number");
      sourced_.insert(field.get<std::string>());
    }
  }
}

void DeviceDescription::expect_kind(std::string_view kind) const {
  if (this->kind() != kind) fail(fmt::format("a device of the kind {}", this->kind()), std::string(kind));
}

const std::string& DeviceDescription::text(const std::string& field) {
  const auto found = texts_.find(field);
  if (found == texts_.end()) fail(fmt::format("no {}", field), "a text");
  read_.insert(field);
  return found->second;
}

double DeviceDescription::number(const std::string& field) {
  const auto found = numbers_.find(field);
  if (found == numbers_.end()) fail(fmt::format("no {}", field), "a number above 0");
  read_.insert(field);
  return found->second;
}

int DeviceDescription::count(const std::string& field, int most) {
  const double value = number(field);
  if (value != std::floor(value) || value > most)
    fail(fmt::format("{}: {}", field, value), fmt::format("a whole number up to {}", most));
  return static_cast<int>(value);
}

void DeviceDescription::check_all_read() const {
  const std::vector<std::string> known(read_.begin(), read_.end());
  const auto check = [&](const std::string& field) {
    if (!read_.contains(field))
      fail(fmt::format("{}{}", field, did_you_mean(field, known)), fmt::format("{}", fmt::join(known, ", ")));
  };
  for (const auto& [field, value] : texts_) check(field);
  for (const auto& [field, value] : numbers_) {
    check(field);
    if (!sourced_.contains(field)) fail(fmt::format("no source of {}", field), "the document that it is from");
  }
}

void DeviceDescription::fail(const std::string& found, const std::string& expected) const {
  throw InputError(fmt::format("the device description '{}': found {}, expected {}", name_, found, expected));
}

}  // namespace mambac::tools
