#include "tools/diff_sides.h"

#include <fmt/format.h>

#include <filesystem>
#include <set>

#include "ir/print.h"
#include "passes/pipeline_text.h"
#include "runtime/atomic_file.h"
#include "runtime/cpu_device.h"
#include "tools/compile.h"
#include "tools/cuda_kernels.h"
#include "tools/work_notes.h"

namespace mambac::tools {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostBytes = size_t{1} << 30;

bool is_kernels(const fs::path& file) {
  return file.filename().string().ends_with("kernels.txt");
}

/// `compile` names a file for each kernel, `dump` for each stage, which begins with its number.
bool is_kernel_source(const fs::path& file) {
  return file.extension() == ".cu" && std::isdigit(static_cast<unsigned char>(file.filename().string()[0])) == 0;
}

void add_file(const fs::path& file, const std::string& key, DiffSide& side) {
  const std::string text = read_file(file, kMostBytes);
  if (is_kernels(file))
    side.kernels[key] = kernels_in(text);
  else if (is_kernel_source(file))
    side.kernels["kernels"].push_back(kernel_text(file.stem().string(), text));
  else
    side.texts[key] = text;
}

/// Machine code follows from the sources beside it.
DiffSide folder_side(const fs::path& folder) {
  static const std::set<std::string> kWritten{".mb", ".txt", ".ll", ".s", ".cu", ".json"};
  std::set<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file() && kWritten.contains(entry.path().extension().string())) files.insert(entry.path());
  if (files.empty())
    throw InputError(fmt::format("'{}': found no file in it that 'mambac dump --out' or 'mambac compile --out' writes",
                                 folder.string()));
  DiffSide side{folder.string(), {}, {}};
  for (const fs::path& file : files) add_file(file, file.filename().string(), side);
  return side;
}

bool is_checkpoint(const fs::path& folder) {
  return fs::exists(folder / "latest") || fs::exists(folder / "model.mb");
}

/// Of a definition the extension is .mb, too, but it says nowhere that it was dumped.
bool is_dumped(const fs::path& file) {
  return fs::is_regular_file(file) && (file.extension() != ".mb" || point_of(read_file(file, kMostBytes)).has_value());
}

bool is_for_gpu(const std::string& device) {
  if (device != "cpu" && device != "cuda")
    throw InputError(fmt::format("--device: found '{}', expected cpu or cuda", device));
  return device == "cuda";
}

DiffSide model_side(const std::string& spec, const DiffOptions& options) {
  const bool gpu = is_for_gpu(options.device);
  const GraphKind kind = kind_named(options.graph);
  const Selection selection = select_model(spec, options.settings);
  PipelineOptions pipeline = options_for(kind, storage_named(options.dtype), selection.sizes);
  if (gpu) pipeline = for_gpu(pipeline);
  DiffSide side{spec, {}, {}};
  const PipelineResult result =
      noted_pipeline(source_graph(selection.model, kind), pipeline, [&](std::string_view stage, const Graph& graph) {
        if (stage == options.stage) side.texts[options.stage] = print(graph);
      });
  if (side.texts.empty())
    throw InputError(fmt::format("--stage: {} is no stage of the {} graph", options.stage, name_of(kind)));
  const DeviceKind device = gpu ? DeviceKind::gpu : DeviceKind::cpu;
  const CodeNote note(result.graph, pipeline, "kernels", device);
  side.kernels["kernels"] = kernels_of(result.graph, gpu ? default_gpu_schedule : schedules_of(cpu_device()), device);
  return side;
}

}  // namespace

DiffSide diff_side(const std::string& spec, const DiffOptions& options) {
  const fs::path path = spec;
  if (fs::is_directory(path) && !is_checkpoint(path)) return folder_side(path);
  if (!is_dumped(path)) return model_side(spec, options);
  DiffSide side{spec, {}, {}};
  add_file(path, "", side);
  return side;
}

}  // namespace mambac::tools
