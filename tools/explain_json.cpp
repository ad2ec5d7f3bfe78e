// Explanations as JSON.
#include <nlohmann/json.hpp>

#include "tools/explain.h"
#include "tools/graph_text.h"

namespace mambac::tools {
namespace {

Json lines_json(const std::vector<ExplainedLine>& lines) {
  Json list = Json::array();
  for (const ExplainedLine& line : lines) {
    Json ops = Json::array();
    for (const ExplainedOp& op : line.ops) ops.push_back({{"node", op.node}, {"op", op.op}, {"text", op.text}});
    list.push_back({{"file", line.file}, {"line", line.line}, {"text", line.text}, {"ops", ops}});
  }
  return list;
}

Json summary_json(const KernelSummary& summary) {
  const KernelWork& work = summary.work;
  return {{"number", summary.number},
          {"name", summary.name},
          {"code_name", summary.code_name.empty() ? Json(nullptr) : Json(summary.code_name)},
          {"kind", summary.kind},
          {"loops", summary.loops},
          {"lines", lines_json(summary.lines)},
          {"bytes_read", whole(work.bytes_read)},
          {"bytes_written", whole(work.bytes_written)},
          {"flops", whole(work.flops)},
          {"exponentials", whole(work.exponentials)}};
}

Json listed_json(const std::vector<ListedCode>& codes) {
  Json list = Json::array();
  for (const ListedCode& code : codes) {
    Json lines = Json::array();
    for (const LabelledLine& line : code.lines) {
      Json one = {{"text", line.text}};
      if (line.origin >= 0) one["label"] = label_text(code.origins[static_cast<size_t>(line.origin)]);
      lines.push_back(std::move(one));
    }
    list.push_back({{"form", code.form}, {"lines", std::move(lines)}});
  }
  return list;
}

Json neighbours_json(const std::vector<Neighbour>& neighbours) {
  Json list = Json::array();
  for (const Neighbour& one : neighbours) {
    const ReasonInfo& reason = info(one.reason.code);
    list.push_back({{"number", one.number},
                    {"name", one.name},
                    {"values", one.values},
                    {"code", reason.name},
                    {"text", one.reason.text},
                    {"to_fuse", reason.remedy}});
  }
  return list;
}

Json schedule_json(const std::vector<ScheduleAxis>& schedule) {
  Json axes = Json::object();
  for (const ScheduleAxis& axis : schedule) axes[axis.name] = {{"value", axis.value}, {"source", name_of(axis.source)}};
  return axes;
}

Json record_json(const std::optional<TuningRecord>& record) {
  if (!record) return nullptr;
  return {{"kernel", record->kernel},   {"sizes", record->sizes},
          {"threads", record->threads}, {"seconds", record->seconds},
          {"heuristic_seconds", record->heuristic_seconds}, {"date", record->date}};
}

Json rooflines_json(const std::vector<Roofline>& rooflines) {
  Json list = Json::array();
  for (const Roofline& roofline : rooflines) {
    const ResourceTime& bound = longest(roofline.times);
    Json resources = Json::object();
    for (const ResourceTime& time : roofline.times)
      resources[std::string(time.resource)] = {{"seconds", time.seconds},
                                               {"share", bound.seconds > 0 ? time.seconds / bound.seconds : 0}};
    list.push_back({{"machine", roofline.machine},
                    {"seconds_at_least", bound.seconds},
                    {"bound", bound.resource},
                    {"resources", resources}});
  }
  return list;
}

Json gpu_stage_json(const GpuStage& stage) {
  Json json = {{"symbol", stage.symbol},
               {"blocks", stage.blocks},
               {"threads", stage.threads},
               {"registers", stage.use.registers},
               {"spill_store_bytes", stage.use.spill_stores},
               {"spill_load_bytes", stage.use.spill_loads},
               {"local_bytes", stage.use.stack},
               {"shared_bytes", stage.use.shared}};
  json["occupancy"] = nullptr;
  if (const auto& occupancy = stage.occupancy)
    json["occupancy"] = {{"blocks", occupancy->blocks}, {"share", occupancy->share}, {"bound", occupancy->bound}};
  return json;
}

Json code_json(const std::optional<GpuCode>& code) {
  if (!code) return nullptr;
  Json stages = Json::array();
  for (const GpuStage& stage : code->stages) stages.push_back(gpu_stage_json(stage));
  return {{"architecture", code->architecture},
          {"counted_in", code->counted_in},
          {"issue_slots", whole(code->slots)},
          {"special_function_slots", whole(code->specials)},
          {"stages", stages}};
}

}  // namespace

Json kernels_json(const Explainer& explainer) {
  Json list = Json::array();
  for (const KernelSummary& summary : explainer.kernels()) list.push_back(summary_json(summary));
  return list;
}

Json explanation_json(const KernelExplanation& explanation) {
  Json json = summary_json(explanation.summary);
  json["reads_from"] = neighbours_json(explanation.producers);
  json["read_by"] = neighbours_json(explanation.consumers);
  json["remarks"] = Json::array();
  for (const Remark& remark : explanation.remarks) json["remarks"].push_back(remark_json(remark));
  json["schedule"] = schedule_json(explanation.schedule);
  json["record"] = record_json(explanation.record);
  json["algorithms"] = explanation.algorithms;
  json["rooflines"] = rooflines_json(explanation.rooflines);
  json["machine_code"] = code_json(explanation.gpu);
  if (!explanation.code.empty()) json["code"] = listed_json(explanation.code);
  return json;
}

}  // namespace mambac::tools
