#include "runtime/trace_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "runtime/atomic_file.h"

namespace mambac {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kWritten = size_t{1} << 20;  // bytes that are written at once

std::string text_of(const Json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Exact, so that what lies within another span does so in the file.
std::string microseconds(int64_t nanoseconds) {
  return fmt::format("{}.{:03}", nanoseconds / 1000, nanoseconds % 1000);
}

std::string complete(size_t thread, const TraceEvent& event) {
  Json arguments = Json::object();
  for (const trace::Argument& argument : event.label->arguments)
    std::visit([&](const auto& value) { arguments[argument.name] = value; }, argument.value);
  if (event.number != trace::kNoNumber) arguments["number"] = event.number;
  if (event.open) arguments["unfinished"] = true;
  // Times are not Json, which would make binary fractions of them.
  return fmt::format(R"({{"ph":"X","pid":1,"tid":{},"ts":{},"dur":{},"cat":{},"name":{},"args":{}}})", thread,
                     microseconds(event.begin), microseconds(event.end - event.begin), text_of(event.label->category),
                     text_of(trace::span_name(*event.label, event.number)), text_of(arguments));
}

std::string about(const char* what, size_t thread, const Json& arguments) {
  return text_of({{"ph", "M"}, {"pid", 1}, {"tid", thread}, {"name", what}, {"args", arguments}});
}

}  // namespace

void write_trace(const std::filesystem::path& path, const std::string& title, const std::vector<TraceTrack>& tracks) {
  AtomicFile file(path);
  std::string text = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n" + about("process_name", 1, {{"name", title}});
  const auto add = [&](const std::string& event) {
    text += ",\n" + event;
    if (text.size() < kWritten) return;
    file.write(text);
    text.clear();
  };
  for (size_t i = 0; i < tracks.size(); ++i) {
    const TraceTrack& track = tracks[i];
    const size_t thread = i + 1;
    add(about("thread_name", thread, {{"name", track.name}}));
    add(about("thread_sort_index", thread, {{"sort_index", thread}}));
    for (const TraceEvent& event : track.events) add(complete(thread, event));
  }
  file.write(text + "\n]}\n");
  file.commit();
}

}  // namespace mambac
