#include "tools/work_notes.h"

#include <exception>

#include "ir/print.h"
#include "passes/pipeline_text.h"

namespace mambac::tools {
namespace {

Notes& all() {
  static Notes notes;
  return notes;
}

void forget_work() {
  all().work = {};
  all().kept = all().refused = nullptr;
}

}  // namespace

const Notes& notes() {
  return all();
}
void note_model(const std::string& definition) {
  all().model = definition;
}
void note_seed(const std::string& name, uint64_t seed) {
  all().seeds[name] = seed;
}
void note_schedule(const std::vector<std::string>& settings) {
  all().schedule = settings;
}

bool& keeps_sources() {
  static bool keeps = false;
  return keeps;
}

PipelineResult noted_stages(const Graph& graph, std::string_view after, const PipelineOptions& options,
                            std::span<const Stage* const> stages, const StageObserver& observer) {
  if (keeps_sources()) all().source = point_text({std::string(after), options}) + print(graph);
  size_t next = 0;
  const auto note = [&](std::string_view stage, const Graph& given) {
    const std::string pass(next < stages.size() ? stages[next]->name : "");
    ++next;
    all().work = {options, std::string(stage), &given, pass, {}};
  };
  forget_work();
  note(after, graph);
  try {
    PipelineResult result = run_stages(graph, options, stages, [&](std::string_view stage, const Graph& made) {
      note(stage, made);
      if (observer) observer(stage, made);
    });
    forget_work();
    return result;
  } catch (const StageFailure& failure) {
    all().kept = failure.given();
    all().refused = failure.refused();
    all().work.graph = all().kept.get();
    throw;
  } catch (...) {
    forget_work();
    throw;
  }
}

PipelineResult noted_pipeline(const Graph& source, const PipelineOptions& options, const StageObserver& observer) {
  if (observer) observer("source", source);
  return noted_stages(source, "source", options, stages_after("source", options.kind), observer);
}

CodeNote::CodeNote(const Graph& fused, const PipelineOptions& options, const std::string& stage, DeviceKind device)
    : exceptions_(std::uncaught_exceptions()) {
  forget_work();
  all().kept = std::make_shared<const Graph>(fused);
  std::vector<std::string> command{"dump", "--start-at", "graph.mb", "--stage", stage};
  command.insert(command.end(), {"--device", device == DeviceKind::gpu ? "cuda" : "cpu"});
  for (const std::string& setting : all().schedule) command.insert(command.end(), {"--schedule", setting});
  all().work = {options, std::string(pipeline_stages().back().name), all().kept.get(), "", std::move(command)};
}

CodeNote::~CodeNote() {
  if (std::uncaught_exceptions() == exceptions_) forget_work();
}

}  // namespace mambac::tools
