// Runs of a graph in a trace that `--trace` wrote.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "codegen/kernel_name.h"
#include "passes/plan.h"
#include "tools/report.h"

namespace mambac::tools {
namespace {

constexpr double kMicrosecond = 1e-6;

struct Span {
  int64_t thread = 0;
  double begin = 0, seconds = 0;
  std::string category, name, kernel;

  bool encloses(const Span& other) const {
    constexpr double kRounded = 1e-9;  // times have three digits behind the microsecond
    return thread == other.thread && begin <= other.begin + kRounded &&
           other.begin + other.seconds <= begin + seconds + kRounded;
  }
};

[[noreturn]] void refuse(const std::string& name, const std::string& found) {
  throw InputError(fmt::format("--trace: '{}' {}, expected what --trace of mambac wrote", name, found));
}

std::vector<Span> spans_in(const std::string& text, const std::string& name) {
  const Json trace = Json::parse(text, nullptr, false);
  if (trace.is_discarded()) refuse(name, "is no JSON");
  if (!trace.is_object() || !trace.contains("traceEvents") || !trace["traceEvents"].is_array())
    refuse(name, "has no list traceEvents");
  std::vector<Span> spans;
  try {
    for (const Json& event : trace["traceEvents"]) {
      if (event.at("ph") != "X") continue;
      Span span{event.at("tid").get<int64_t>(),
                event.at("ts").get<double>() * kMicrosecond,
                event.at("dur").get<double>() * kMicrosecond,
                event.value("cat", ""),
                event.at("name").get<std::string>(),
                ""};
      if (event.contains("args")) span.kernel = event["args"].value("kernel", "");
      spans.push_back(std::move(span));
    }
  } catch (const nlohmann::json::exception&) {
    refuse(name, "has an event without thread, time, duration or name");
  }
  return spans;
}

/// The kernels of a graph as a trace names them: by both of their names.
std::map<std::pair<std::string, std::string>, int> named_kernels(const Graph& fused) {
  std::map<std::pair<std::string, std::string>, int> numbers;
  for (int k = 0; k < static_cast<int>(fused.kernels.size()); ++k)
    numbers[{fused.kernels[static_cast<size_t>(k)].name, kernel_name(fused, k)}] = k;
  return numbers;
}

}  // namespace

std::vector<TimedRun> runs_in_trace(const std::string& text, const std::string& name, const Graph& fused) {
  const std::vector<Span> spans = spans_in(text, name);
  const auto numbers = named_kernels(fused);
  const std::vector<bool> constant = constant_kernels(fused);
  std::vector<const Span*> kernels;
  double start = spans.empty() ? 0 : spans.front().begin;
  for (const Span& span : spans) {
    start = std::min(start, span.begin);
    if (span.category == "kernel" || span.category == "library") kernels.push_back(&span);
  }
  std::ranges::stable_sort(kernels, {}, &Span::begin);
  std::vector<TimedRun> runs;
  for (const Span& span : spans) {
    if (span.category != "run" || span.name != fused.name) continue;
    TimedRun run{span.begin - start, span.seconds, {}};
    std::set<int> missing;
    for (size_t k = 0; k < constant.size(); ++k)
      if (!constant[k]) missing.insert(static_cast<int>(k));
    auto at = std::ranges::lower_bound(kernels, span.begin, {}, &Span::begin);
    bool known = true;
    for (; at != kernels.end() && (*at)->begin <= span.begin + span.seconds; ++at) {
      if (!span.encloses(**at)) continue;
      const auto found = numbers.find({(*at)->kernel, (*at)->name});
      known = known && found != numbers.end();
      if (!known) break;
      missing.erase(found->second);
      run.kernels.push_back({found->second, (*at)->begin - span.begin, (*at)->seconds});
    }
    if (known && missing.empty()) runs.push_back(std::move(run));
  }
  if (runs.empty())
    throw InputError(
        fmt::format("--trace: '{}' has no run of all kernels of {}; expected a trace of the same model, "
                    "graph, --set, --dtype and device, on a CPU",
                    name, fused.name));
  return runs;
}

}  // namespace mambac::tools
