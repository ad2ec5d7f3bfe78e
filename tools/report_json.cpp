// Reports as JSON, short enough for pages: lists in the place of objects where there are many. tools/report/index.js
// reads them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tools/graph_text.h"
#include "tools/report.h"
#include "tools/report_files.h"

namespace mambac::tools {
namespace {

template <typename List, typename Write>
Json list_of(const List& list, const Write& write) {
  Json json = Json::array();
  for (const auto& one : list) json.push_back(write(one));
  return json;
}

/// [begin, end, number of lines, lines]
Json hunk_json(const ReportHunk& hunk) {
  return {hunk.begin, hunk.end, hunk.lines.size(), fmt::format("{}", fmt::join(hunk.lines, "\n"))};
}

Json stage_json(const ReportStage& stage) {
  return {{"name", stage.name}, {"reason", stage.reason}, {"hunks", list_of(stage.hunks, hunk_json)}};
}

/// [name, op, kernel, file, line, line in the text, operands]
Json node_json(const ReportNode& node) {
  return {node.name, node.op, node.kernel, node.file, node.line, node.text, node.operands};
}

/// Seconds with as many digits as say something.
Json seconds_json(double seconds) {
  return Json::parse(fmt::format("{:.4g}", seconds));
}

Json roofline_json(const Roofline& roofline) {
  const auto time = [](const ResourceTime& one) { return Json{one.resource, seconds_json(one.seconds)}; };
  return {{"machine", roofline.machine}, {"times", list_of(roofline.times, time)}};
}

Json gpu_json(const std::optional<GpuCode>& gpu) {
  if (!gpu) return nullptr;
  const auto stage = [](const GpuStage& one) {
    return Json{{"symbol", one.symbol},
                {"blocks", one.blocks},
                {"threads", one.threads},
                {"registers", one.use.registers},
                {"spilled", one.use.spill_stores + one.use.spill_loads},
                {"shared", one.use.shared}};
  };
  return {{"architecture", gpu->architecture}, {"slots", whole(gpu->slots)}, {"stages", list_of(gpu->stages, stage)}};
}

/// What other kernels this one reads: the kernel, the values, the code of the reason and its text.
Json producer_json(const Neighbour& one) {
  return {one.number, one.values, info(one.reason.code).name, one.reason.text};
}

Json kernel_json(const KernelExplanation& kernel, int code) {
  const KernelSummary& summary = kernel.summary;
  return {{"name", summary.name},
          {"code_name", summary.code_name},
          {"kind", summary.kind},
          {"loops", summary.loops},
          {"code", code},
          {"read", whole(summary.work.bytes_read)},
          {"written", whole(summary.work.bytes_written)},
          {"flops", whole(summary.work.flops)},
          {"exponentials", whole(summary.work.exponentials)},
          {"producers", list_of(kernel.producers, producer_json)},
          {"remarks", list_of(kernel.remarks,
                              [](const Remark& one) {
                                return Json{one.node, info(one.outcome).name, info(one.code).name, one.text};
                              })},
          {"rooflines", list_of(kernel.rooflines, roofline_json)},
          {"gpu", gpu_json(kernel.gpu)}};
}

/// The text as one string, and by line the number of its origin.
Json form_json(const ListedCode& code) {
  std::string text;
  Json origins = Json::array();
  for (const LabelledLine& line : code.lines) {
    if (!origins.empty()) text += "\n";
    text += line.text;
    origins.push_back(line.origin);
  }
  return {{"form", code.form}, {"text", text}, {"origins", origins}};
}

/// [label, file, line, whether it is what several values share]
Json origin_json(const loop::Origin& origin, const Report& report) {
  int file = -1;
  for (size_t i = 0; origin.location.known() && i < report.files.size(); ++i)
    if (report.files[i].first == *origin.location.file) file = static_cast<int>(i);
  return {label_text(origin), file, file < 0 ? 0 : origin.location.line, origin.shared};
}

Json code_json(const ReportCode& code, const Report& report) {
  Json origins = Json::array();  // all forms have the same
  if (!code.forms.empty())
    for (const loop::Origin& origin : code.forms.front().origins) origins.push_back(origin_json(origin, report));
  const auto axis = [](const ScheduleAxis& one) { return Json{one.name, one.value, name_of(one.source)}; };
  return {{"kernel", code.kernel},
          {"schedule", list_of(code.schedule, axis)},
          {"origins", origins},
          {"forms", list_of(code.forms, form_json)}};
}

Json memory_json(const ReportMemory& one) {
  return {one.name, one.node, one.bytes, one.offset, one.first, one.last};
}

Json nanoseconds(double seconds) {
  return std::llround(seconds * 1e9);
}

/// Of each kernel the median of its times in all runs; null: constant, and in none of them.
Json median_times(const std::vector<TimedRun>& runs, size_t kernels) {
  std::vector<std::vector<double>> times(kernels);
  for (const TimedRun& run : runs)
    for (const TimedKernel& one : run.kernels) times[static_cast<size_t>(one.kernel)].push_back(one.seconds);
  return list_of(times, [](std::vector<double> of_one) {
    if (of_one.empty()) return Json(nullptr);
    const auto middle = of_one.begin() + static_cast<std::ptrdiff_t>(of_one.size() / 2);
    std::ranges::nth_element(of_one, middle);
    return nanoseconds(*middle);
  });
}

/// In nanoseconds: begin and length of each run, [kernel, begin, length] of the last one's kernels, and medians.
Json runs_json(const std::vector<TimedRun>& runs, size_t kernels) {
  if (runs.empty()) return nullptr;
  const auto run = [](const TimedRun& one) { return Json{nanoseconds(one.begin), nanoseconds(one.seconds)}; };
  const auto kernel = [](const TimedKernel& one) {
    return Json{one.kernel, nanoseconds(one.begin), nanoseconds(one.seconds)};
  };
  return {{"runs", list_of(runs, run)},
          {"last", list_of(runs.back().kernels, kernel)},
          {"median", median_times(runs, kernels)}};
}

Json reasons_json() {
  Json reasons = Json::object();
  for (const ReasonInfo& one : reason_table()) reasons[std::string(one.name)] = {one.meaning, one.remedy};
  return reasons;
}

/// Text of a data block must not end it, nor begin a comment in it.
std::string block_text(const Json& data) {
  std::string text = data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), safe;
  safe.reserve(text.size() + text.size() / 64);
  for (size_t i = 0; i < text.size(); ++i) {
    const char next = i + 1 < text.size() ? text[i + 1] : ' ';
    if (text[i] == '<' && (next == '/' || next == '!'))
      safe += "\\u003c";
    else
      safe += text[i];
  }
  return safe;
}

/// The template with `text` where "{{name}}" stands.
void put(std::string& page, const std::string& name, std::string_view text) {
  const std::string mark = "{{" + name + "}}";
  const size_t at = page.find(mark);
  check(at != std::string::npos, "report: the template lacks a place");
  page.replace(at, mark.size(), text);
}

std::string_view page_part(std::string_view name) {
  const EmbeddedFile* part = find_embedded(report_files(), name);
  check(part != nullptr, "report: there is no such part of the page");
  return part->text;
}

}  // namespace

Json report_json(const Report& report) {
  Json json = explain_head(report.asked, report.sizes);
  json["files"] = list_of(report.files, [](const auto& file) { return Json{file.first, file.second}; });
  json["stages"] = list_of(report.stages, stage_json);
  json["nodes"] = list_of(report.nodes, node_json);
  json["kernels"] = Json::array();
  for (size_t k = 0; k < report.kernels.size(); ++k)
    json["kernels"].push_back(kernel_json(report.kernels[k], report.code_of[k]));
  json["codes"] = list_of(report.codes, [&](const ReportCode& code) { return code_json(code, report); });
  json["layers"] = list_of(report.layers, [](const ReportLayers& one) {
    return Json{one.first, one.period, one.count};
  });
  json["arena"] = report.arena_bytes;
  json["memory"] = list_of(report.memory, memory_json);
  json["trace"] = runs_json(report.runs, report.kernels.size());
  json["reasons"] = reasons_json();
  return json;
}

std::string report_page(const Json& data) {
  std::string page(page_part("report.html"));
  put(page, "style", page_part("report.css"));
  std::string script;
  for (const char* name : {"index.js", "views.js", "pictures.js", "report.js"}) script += page_part(name);
  put(page, "script", script);
  put(page, "data", block_text(data));
  return page;
}

}  // namespace mambac::tools
