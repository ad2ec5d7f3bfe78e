#include "runtime/checkpoint.h"

#include <fmt/format.h>

#include "ir/error.h"
#include "runtime/atomic_file.h"

namespace mambac {
namespace {

namespace fs = std::filesystem;

std::string folder_name(int64_t step) {
  return fmt::format("checkpoint-{}", step);
}

/// The folder that a link names, when it is whole.
std::optional<fs::path> linked(const fs::path& folder, const char* link) {
  std::error_code error;
  const fs::path target = fs::read_symlink(folder / link, error);
  if (error || !fs::exists(folder / target / "training.json", error)) return std::nullopt;
  return folder / target;
}

void write_contents(const fs::path& folder, const TrainingRecord& record, const ParameterLayout& layout,
                    const TrainingArrays& arrays, const CheckpointTexts& texts) {
  write_safetensors(folder / "model.safetensors", layout.tensors(arrays.values), {{"format", "pt"}});
  std::vector<TensorToWrite> moments = layout.tensors(arrays.first_moment, "m.");
  for (TensorToWrite& tensor : layout.tensors(arrays.second_moment, "v.")) moments.push_back(std::move(tensor));
  write_safetensors(folder / "optimiser.safetensors", std::move(moments), {});
  for (const auto& [name, content] : texts) write_file(folder / name, content);
  write_file(folder / "training.json", training_record_text(record));
}

}  // namespace

void write_checkpoint(const fs::path& folder, const TrainingRecord& record, const ParameterLayout& layout,
                      const TrainingArrays& arrays, const CheckpointTexts& texts) {
  const fs::path final = folder / folder_name(record.step);
  const fs::path staged = final.string() + ".tmp";
  try {
    fs::remove_all(staged);
    fs::create_directories(staged);
    write_contents(staged, record, layout, arrays, texts);
    fs::remove_all(final);  // left by a run that was killed before it could point to it
    fs::rename(staged, final);
    sync_folder(folder);
    replace_link(folder / "latest", folder_name(record.step));
    settle_checkpoints(folder, record);
  } catch (const std::exception& failure) {
    std::error_code ignored;
    fs::remove_all(staged, ignored);
    const auto old = linked(folder, "latest");
    throw EnvironmentError(fmt::format("the checkpoint of step {} could not be written: {}; {}", record.step,
                                       failure.what(),
                                       old ? fmt::format("'{}' is whole", old->string()) : "there is none before it"));
  }
}

void settle_checkpoints(const fs::path& folder, const TrainingRecord& record) {
  if (record.best_step >= 0) replace_link(folder / "best", folder_name(record.best_step));
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool kept = name == folder_name(record.step) || name == folder_name(record.best_step);
    if (name.starts_with("checkpoint-") && !kept) fs::remove_all(entry.path());
  }
}

std::optional<TrainingRecord> read_latest_checkpoint(const fs::path& folder, const ParameterLayout& layout,
                                                     const TrainingArrays& arrays) {
  const auto checkpoint = linked(folder, "latest");
  if (!checkpoint) return std::nullopt;
  TrainingRecord record = read_training_record(*checkpoint);
  layout.load(SafetensorsFile(*checkpoint / "model.safetensors"), arrays.values);
  const SafetensorsFile moments(*checkpoint / "optimiser.safetensors");
  for (size_t i = 0; i < layout.parameters().size(); ++i) {
    const ParameterSpec& parameter = layout.parameters()[i];
    const auto read = [&](const char* prefix, const DeviceSpan<float>& array) {
      layout.part(i, array).fill(
          [&](float* to) { moments.read_exact(prefix + parameter.name, parameter.shape, ElementType::f32, to); });
    };
    read("m.", arrays.first_moment);
    read("v.", arrays.second_moment);
  }
  return record;
}

fs::path find_checkpoint(const fs::path& path) {
  std::error_code error;
  if (fs::exists(path / "model.safetensors", error)) return path;
  for (const char* link : {"best", "latest"})
    if (const auto checkpoint = linked(path, link)) return *checkpoint;
  throw InputError(fmt::format(
      "'{}' holds no checkpoint: expected model.safetensors in it, or a folder written by training", path.string()));
}

bool has_checkpoint(const fs::path& folder) {
  return linked(folder, "latest").has_value();
}

}  // namespace mambac
