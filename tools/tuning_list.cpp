#include "tools/tuning_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/tuning/tuning_folder.h"

namespace mambac::tools {
namespace {

namespace fs = std::filesystem;

const char* name_of(RecordSource source) {
  return source == RecordSource::shipped ? "shipped" : source == RecordSource::user ? "user" : "pinned";
}

/// Collects records, those that come later in the place of earlier ones of the same work.
class Collection {
 public:
  void add(const TuningFile& file, RecordSource source) {
    auto& records = devices_[file.device];
    for (const TuningRecord& record : file.records) records.insert_or_assign(record.work(), KeptRecord{record, source});
  }

  std::vector<KeptRecords> all() const {
    std::vector<KeptRecords> all;
    for (const auto& [device, records] : devices_) {
      all.push_back({device, {}});
      for (const auto& [work, kept] : records) all.back().records.push_back(kept);
      std::ranges::stable_sort(all.back().records, {}, [](const KeptRecord& kept) { return kept.record.name; });
    }
    return all;
  }

 private:
  std::map<std::string, std::map<std::tuple<std::string, Bindings, int>, KeptRecord>> devices_;
};

TuningFile read_kept(const fs::path& path) {
  TuningFile file = parse_tuning(read_file(path), path.string());
  if (const std::string reason = why_misnamed(file, path); !reason.empty()) throw InputError(reason);
  return file;
}

/// That of exactly this name, where there is one: files of several devices may have one name.
std::vector<KeptRecords> only_named(std::vector<KeptRecords> all, const std::string& device) {
  const auto is_named = [&](const KeptRecords& kept) { return kept.device == device; };
  if (std::ranges::any_of(all, is_named)) std::erase_if(all, std::not_fn(is_named));
  if (!device.empty() && all.size() > 1)
    throw InputError(fmt::format("found '{}', expected one of the devices whose files have that name: {} or {}", device,
                                 all[0].device, all[1].device));
  return all;
}

std::string microseconds(double seconds) {
  return fmt::format("{:.2f}", 1e6 * seconds);
}

/// How much longer the heuristic's schedule takes.
std::string ratio_text(const TuningRecord& record) {
  return record.seconds > 0 ? fmt::format("{:.2f}", record.heuristic_seconds / record.seconds) : "-";
}

std::string day_of(const TuningRecord& record) {
  return record.date.substr(0, record.date.find('T'));
}

void print_schedules(const TuningRecord& record) {
  fmt::print("  {:<22}{:>8}{:>11}\n", "axis", "tuned", "heuristic");
  const auto tuned = record.schedule.values(), heuristic = record.heuristic.values();
  for (size_t i = 0; i < tuned.size(); ++i)
    fmt::print("{} {:<22}{:>8}{:>11}\n", tuned[i] == heuristic[i] ? ' ' : '*', tuned[i].first, tuned[i].second,
               heuristic[i].second);
}

}  // namespace

TuningFile KeptRecords::file() const {
  TuningFile file{device, {}};
  for (const KeptRecord& kept : records) file.records.push_back(kept.record);
  return file;
}

std::vector<KeptRecords> kept_records(const std::string& device) {
  Collection collection;
  const std::string only = device.empty() ? "" : tuning_file_name(device);
  const auto wanted = [&](const fs::path& file) { return only.empty() || file.filename() == only; };
  std::vector<std::string> known;
  for (const std::string& shipped : devices_with_shipped_tuning()) {
    known.push_back(shipped);
    if (wanted(tuning_file_name(shipped))) collection.add(shipped_tuning(shipped), RecordSource::shipped);
  }
  for (const fs::path& path : TuningFolder(TuningFolder::default_folder()).files()) {
    try {
      known.push_back(path.stem().string());
      if (wanted(path)) collection.add(read_kept(path), RecordSource::user);
    } catch (const InputError& failure) {
      if (!only.empty()) throw;
      talk(fmt::format("mambac: warning: passed over: {}", failure.what()));
    }
  }
  std::vector<KeptRecords> all = only_named(collection.all(), device);
  if (!only.empty() && all.empty())
    throw InputError(fmt::format("there are no records of '{}'; there are records of: {}", device,
                                 known.empty() ? "no device" : fmt::format("{}", fmt::join(known, ", "))));
  return all;
}

std::string work_text(const TuningRecord& record) {
  std::string text;
  for (const auto& [name, size] : record.sizes) text += fmt::format("{}={} ", name, size);
  if (record.threads > 0) text += fmt::format("threads={} ", record.threads);
  return text.empty() ? "" : text.substr(0, text.size() - 1);
}

void print_list(const std::vector<KeptRecords>& devices) {
  size_t name = 8, work = 8, count = 0;
  for (const KeptRecords& kept : devices)
    for (const auto& [record, source] : kept.records) {
      name = std::max(name, record.name.size());
      work = std::max(work, work_text(record).size());
    }
  for (const KeptRecords& kept : devices) {
    fmt::print("{}\n  {:<{}}  {:<12}  {:<{}}  {:>12}  {:>9}  {:>5}  {:<10}  {}\n", kept.device, "kernel", name, "key",
               "sizes", work, "heuristic us", "tuned us", "ratio", "date", "from");
    for (const auto& [record, source] : kept.records)
      fmt::print("  {:<{}}  {:<12}  {:<{}}  {:>12}  {:>9}  {:>5}  {:<10}  {}\n", record.name, name,
                 record.kernel.substr(0, 12), work_text(record), work, microseconds(record.heuristic_seconds),
                 microseconds(record.seconds), ratio_text(record), day_of(record), name_of(source));
    count += kept.records.size();
  }
  fmt::print("{} records of {} devices\n", count, devices.size());
}

void print_record(const std::string& device, const KeptRecord& kept) {
  const TuningRecord& record = kept.record;
  fmt::print("kernel        {}\n", record.name);
  fmt::print("key           {}\n", record.kernel);
  fmt::print("device        {}\n", device);
  fmt::print("from          {}, {}\n", name_of(kept.source), record.date);
  fmt::print("sizes         {}\n", work_text(record));
  fmt::print("tuned         {} us, within {:.1f}%\n", microseconds(record.seconds), 100 * record.spread);
  fmt::print("heuristic     {} us, {} times as long\n", microseconds(record.heuristic_seconds), ratio_text(record));
  if (record.predicted_seconds > 0) fmt::print("predicted     {} us\n", microseconds(record.predicted_seconds));
  if (record.in_program > 0) fmt::print("in a program  {:.2f} of the heuristic's time\n", record.in_program);
  if (record.unfinished > 0) fmt::print("unfinished    its search was cut short; 'mambac tune' goes on with it\n");
  fmt::print("error         {:.3g} of what is tolerated\n", record.error);
  fmt::print("architecture  {}\n", record.architecture);
  fmt::print("toolkit       {}\n", record.toolkit);
  if (!record.driver.empty()) fmt::print("driver        {}\n", record.driver);
  print_schedules(record);
}

Json record_json(const std::string& device, const KeptRecord& kept) {
  Json json = {{"device", device}, {"source", name_of(kept.source)}};
  json.update(Json::parse(tuning_text({device, {kept.record}}))["records"][0]);
  return json;
}

}  // namespace mambac::tools
