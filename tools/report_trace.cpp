// Runs of a graph in a trace that `--trace` wrote.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "codegen/kernel_name.h"
#include "passes/plan.h"
#include "runtime/json_depth.h"
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
  check_json_depth(text, fmt::format("--trace: '{}'", name));
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

/// The runs of one graph among the spans of a trace.
class Runs {
 public:
  Runs(const std::vector<Span>& spans, const Graph& fused)
      : spans_(spans), graph_(fused.name), numbers_(named_kernels(fused)), constant_(constant_kernels(fused)) {
    for (const Span& span : spans)
      if (span.category == "kernel" || span.category == "library") kernels_.push_back(&span);
    std::ranges::stable_sort(kernels_, {}, &Span::begin);
  }

  std::vector<TimedRun> find() const {
    const auto first = std::ranges::min_element(spans_, {}, &Span::begin);
    std::vector<TimedRun> runs;
    for (const Span& span : spans_) {
      if (span.category != "run" || span.name != graph_) continue;
      std::vector<TimedKernel> kernels = kernels_in(span);
      if (is_whole(kernels)) runs.push_back({span.begin - first->begin, span.seconds, std::move(kernels)});
    }
    return runs;
  }

 private:
  /// None when one of them is of another graph.
  std::vector<TimedKernel> kernels_in(const Span& run) const {
    std::vector<TimedKernel> found;
    for (auto at = std::ranges::lower_bound(kernels_, run.begin, {}, &Span::begin);
         at != kernels_.end() && (*at)->begin <= run.begin + run.seconds; ++at) {
      const Span& span = **at;
      if (!run.encloses(span)) continue;
      const auto number = numbers_.find({span.kernel, span.name});
      if (number == numbers_.end()) return {};
      found.push_back({number->second, span.begin - run.begin, span.seconds});
    }
    return found;
  }

  /// Constant kernels are in the first run only.
  bool is_whole(const std::vector<TimedKernel>& kernels) const {
    std::vector<bool> there = constant_;
    for (const TimedKernel& one : kernels) there[static_cast<size_t>(one.kernel)] = true;
    return !kernels.empty() && std::ranges::all_of(there, [](bool is) { return is; });
  }

  const std::vector<Span>& spans_;
  const std::string graph_;
  const std::map<std::pair<std::string, std::string>, int> numbers_;
  const std::vector<bool> constant_;
  std::vector<const Span*> kernels_;  // by time
};

}  // namespace

std::vector<TimedRun> runs_in_trace(const std::string& text, const std::string& name, const Graph& fused) {
  const std::vector<Span> spans = spans_in(text, name);
  std::vector<TimedRun> runs = Runs(spans, fused).find();
  if (runs.empty())
    throw InputError(
        fmt::format("--trace: '{}' has no run of all kernels of {}; expected a trace of the same model, "
                    "graph, --set, --dtype and device, on a CPU",
                    name, fused.name));
  return runs;
}

}  // namespace mambac::tools
