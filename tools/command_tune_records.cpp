#include <fmt/format.h>

#include <ctime>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "codegen/lower.h"
#include "frontend/suggest.h"
#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/tuning/shipped_tuning.h"
#include "runtime/tuning/tuning_folder.h"
#include "tools/commands.h"
#include "tools/tune_report.h"
#include "tools/tuning_list.h"

namespace mambac::tools {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string device, kernel, out;
  std::vector<std::string> files;
  bool all = false, json = false;
};

/// The user's, for commands that change it.
TuningFolder the_folder() {
  const fs::path folder = TuningFolder::default_folder();
  if (folder.empty())
    throw EnvironmentError("there is no folder for records: neither $MAMBAC_TUNED nor $HOME names a place");
  return TuningFolder(folder);
}

void list(const Options& options) {
  const std::vector<KeptRecords> devices = kept_records(options.device);
  if (!options.json) return print_list(devices);
  Json records = Json::array();
  for (const KeptRecords& kept : devices)
    for (const KeptRecord& record : kept.records) records.push_back(record_json(kept.device, record));
  print_json({{"folder", TuningFolder::default_folder().string()}, {"records", records}});
}

void show(const Options& options) {
  Json records = Json::array();
  std::vector<std::string> known;
  bool any = false;
  for (const KeptRecords& kept : kept_records(options.device))
    for (const KeptRecord& record : kept.records) {
      const std::string& name = record.record.name;
      known.push_back(name);
      if (name.find(options.kernel) == std::string::npos && !record.record.kernel.starts_with(options.kernel)) continue;
      if (options.json) {
        records.push_back(record_json(kept.device, record));
      } else {
        fmt::print("{}", any ? "\n" : "");
        print_record(kept.device, record);
      }
      any = true;
    }
  if (!any)
    throw InputError(
        fmt::format("found '{}', expected a part of a kernel's name or the beginning of a key{}; 'mambac "
                    "tune list' shows them",
                    options.kernel, did_you_mean(options.kernel, known)));
  if (options.json) print_json(records);
}

void write_records(const TuningFile& file, const Options& options) {
  write_file(options.out, tuning_text(file));
  if (options.json)
    return print_json({{"file", options.out}, {"device", file.device}, {"records", file.records.size()}});
  fmt::print("{} records of {} are in '{}'\n", file.records.size(), file.device, options.out);
}

void export_records(const Options& options) {
  const TuningFile file = kept_records(options.device).at(0).file();
  if (options.out.empty()) return fmt::print("{}", tuning_text(file));
  write_records(file, options);
}

void report(const Options& options) {
  const TuningFile file = kept_records(options.device).at(0).file();
  const TuningFolder folder(TuningFolder::default_folder());
  std::vector<LoggedTrial> trials;
  if (!folder.folder().empty()) trials = TuneLog(TuningFolder::log_beside(folder.path_of(file.device))).read();
  write_file(options.out, tuning_page(file, trials));
  fmt::print("{}: {} records of {}\n", options.out, file.records.size(), file.device);
}

/// What a number of a record can be; 0 stands for one that was not measured where that may be.
struct Bounds {
  const char* name;
  double TuningRecord::*value;
  double least, most;
  bool or_none;
};
constexpr double kShortest = 1e-9, kLongest = 1e6, kMostTimes = 1e3;
constexpr Bounds kBounds[] = {{"seconds", &TuningRecord::seconds, kShortest, kLongest, false},
                              {"heuristic_seconds", &TuningRecord::heuristic_seconds, kShortest, kLongest, false},
                              {"predicted_seconds", &TuningRecord::predicted_seconds, kShortest, kLongest, true},
                              {"spread", &TuningRecord::spread, 0, kMostTimes, false},
                              {"in_program", &TuningRecord::in_program, 1 / kMostTimes, kMostTimes, true},
                              {"error", &TuningRecord::error, 0, kMostTimes, false}};

std::vector<std::string> problems_of(const TuningRecord& record) {
  std::vector<std::string> problems;
  for (const auto& [what, schedule] : {std::pair{"schedule", &record.schedule}, {"heuristic", &record.heuristic}})
    if (const std::string reason = why_illegal(*schedule, record.threads > 0 ? DeviceKind::cpu : DeviceKind::gpu);
        !reason.empty())
      problems.push_back(fmt::format("'{}': {}", what, reason));
  for (const Bounds& bounds : kBounds) {
    const double value = record.*bounds.value;
    if ((bounds.or_none && value == 0) || (value >= bounds.least && value <= bounds.most)) continue;
    problems.push_back(fmt::format("'{}': found {}, expected {}{} to {}", bounds.name, value,
                                   bounds.or_none ? "0, or " : "", bounds.least, bounds.most));
  }
  constexpr std::time_t kDay = 24 * 3600;  // clocks differ, and so do days
  if (const std::string latest = time_text(std::time(nullptr) + kDay); record.date > latest)
    problems.push_back(fmt::format("'date': found \"{}\", expected {} or before", record.date, latest));
  return problems;
}

/// What is wrong with records that can be told without their kernels.
std::vector<std::string> problems_of(const TuningFile& file, const std::string& path) {
  std::vector<std::string> problems;
  for (const TuningRecord& record : file.records)
    for (const std::string& problem : problems_of(record))
      problems.push_back(fmt::format("'{}': {} at {}: {}", path, record.name, work_text(record), problem));
  return problems;
}

/// All of the files, or an InputError before anything is done with one of them.
std::vector<TuningFile> read_all(const std::vector<std::string>& paths) {
  std::vector<TuningFile> files;
  for (const std::string& path : paths) {
    files.push_back(parse_tuning(read_file(path), path));
    for (const std::string& problem : problems_of(files.back(), path)) throw InputError(problem);
  }
  return files;
}

/// InputError where the file's name in the folder is that of another device's.
void check_is_own(const TuningFile& file, const std::string& path, const TuningFolder& folder) {
  for (const std::string& shipped : devices_with_shipped_tuning())
    if (shipped != file.device && tuning_file_name(shipped) == tuning_file_name(file.device))
      throw InputError(
          fmt::format("'{}': 'device': found \"{}\", expected \"{}\", the shipped device whose file has that name",
                      path, file.device, shipped));
  try {
    folder.read(file.device);
  } catch (const ForeignRecords&) {
    throw;
  } catch (const InputError&) {  // damaged, for merge() to set aside
  }
}

void import_files(const Options& options) {
  const TuningFolder folder = the_folder();
  const std::vector<TuningFile> files = read_all(options.files);
  for (size_t i = 0; i < files.size(); ++i) check_is_own(files[i], options.files[i], folder);
  Json merged = Json::array();
  for (size_t i = 0; i < files.size(); ++i) {
    const TuningMerge done = folder.merge(files[i]);
    const MergeCounts& counts = done.counts;
    const std::string& device = files[i].device;
    if (done.damaged)
      talk(fmt::format("mambac: warning: '{}' was damaged; what it held is in '{}'", folder.path_of(device).string(),
                       done.damaged->string()));
    merged.push_back({{"file", options.files[i]},
                      {"device", device},
                      {"new", counts.added},
                      {"newer", counts.replaced},
                      {"older", counts.older},
                      {"same", counts.same}});
    if (!options.json)
      fmt::print("'{}': of {} records of {} {} are new, {} newer, {} older and left out, {} the same\n",
                 options.files[i], files[i].records.size(), device, counts.added, counts.replaced, counts.older,
                 counts.same);
  }
  if (options.json) print_json({{"folder", folder.folder().string()}, {"files", merged}});
}

void merge_files(const Options& options) {
  const std::vector<TuningFile> files = read_all(options.files);
  TuningFile merged = files[0];
  for (size_t i = 1; i < files.size(); ++i) {
    if (files[i].device != merged.device)
      throw InputError(fmt::format("'{}' has records of \"{}\", expected \"{}\" as in '{}'", options.files[i],
                                   files[i].device, merged.device, options.files[0]));
    merge(merged, files[i]);
  }
  write_records(merged, options);
}

struct Verified {
  std::string file, device;
  size_t records = 0;
  std::vector<std::string> problems;
};

/// `named`: the file must be called by its device.
Verified verify_file(const std::string& path, bool named, const std::function<std::string()>& text) {
  Verified verified{path, "", 0, {}};
  try {
    const TuningFile file = parse_tuning(text(), path);
    verified.device = file.device;
    verified.records = file.records.size();
    verified.problems = problems_of(file, path);
    if (std::string reason = why_misnamed(file, path); named && !reason.empty()) verified.problems.push_back(reason);
  } catch (const InputError& failure) {
    verified.problems = {failure.what()};
  }
  return verified;
}

std::vector<Verified> verify_all(const std::vector<std::string>& files) {
  std::vector<Verified> all;
  for (const std::string& file : files) all.push_back(verify_file(file, false, [&] { return read_file(file); }));
  if (!files.empty()) return all;
  for (const EmbeddedFile& file : shipped_tuning_files())
    all.push_back(verify_file("models/tuned/" + std::string(file.file), true, [&] { return std::string(file.text); }));
  for (const fs::path& path : TuningFolder(TuningFolder::default_folder()).files())
    all.push_back(verify_file(path.string(), true, [&] { return read_file(path); }));
  return all;
}

void verify(const Options& options) {
  const std::vector<Verified> all = verify_all(options.files);
  size_t wrong = 0;
  Json files = Json::array();
  for (const Verified& file : all) {
    wrong += file.problems.empty() ? 0 : 1;
    files.push_back(
        {{"file", file.file}, {"device", file.device}, {"records", file.records}, {"problems", file.problems}});
    if (options.json) continue;
    if (file.problems.empty()) fmt::print("'{}': {} records of {} are good\n", file.file, file.records, file.device);
    for (const std::string& problem : file.problems) fmt::print("{}\n", problem);
  }
  if (options.json) print_json({{"files", files}});
  if (wrong > 0) throw InputError(fmt::format("of {} files of records {} are wrong", all.size(), wrong));
  if (!options.json) fmt::print("{} files are good\n", all.size());
}

void clear(const Options& options) {
  if (options.device.empty() && !options.all) miss_argument("--device or --all");
  const TuningFolder folder = the_folder();
  std::vector<fs::path> files = folder.files_or_logs();
  if (!options.all) files = {folder.path_of(options.device)};
  Json removed = Json::array();
  for (const fs::path& file : files)
    if (folder.remove(file)) removed.push_back(file.string());
  if (!options.all && removed.empty())
    throw InputError(fmt::format("there are no records of '{}' in '{}'", options.device, folder.folder().string()));
  if (options.json) return print_json({{"removed", removed}});
  for (const Json& file : removed) fmt::print("'{}' is removed\n", file.get<std::string>());
  fmt::print("{} files removed\n", removed.size());
}

/// A command whose options `declare` adds to those that all have.
void add_action(Command tune, const char* name, const char* description, void (*action)(const Options&),
                const std::function<void(Command, Options&)>& declare) {
  const Command command = tune.add_command(name, description);
  auto options = std::make_shared<Options>();
  declare(command, *options);
  add_json(command, options->json);
  command.callback([options, action] { action(*options); });
}

Option add_device_name(Command command, Options& options) {
  return command.add_option("--device", options.device, "of this device only, such as \"NVIDIA H200\"")
      .type_name("NAME")
      .check([](const std::string& name) {
        if (name.empty()) throw InputError("--device: found '', expected the name of a device");
        return std::string();
      });
}

Option add_files(Command command, Options& options, const char* help) {
  return command.add_option("FILE", options.files, help).type_name("");
}

}  // namespace

void add_tune_records(Command tune) {
  add_action(tune, "list", "all records that serve, with the heuristic's time and the tuned one", list,
             [](Command command, Options& options) { add_device_name(command, options); });
  add_action(tune, "show", "everything about the records of a kernel", show, [](Command command, Options& options) {
    command.add_option("KERNEL", options.kernel, "a part of a kernel's name, or the beginning of a key")
        .required()
        .type_name("");
    add_device_name(command, options);
  });
  add_action(tune, "export", "the records of a device as text, yours over the shipped ones", export_records,
             [](Command command, Options& options) {
               add_device_name(command, options).required();
               command.add_option("--out", options.out, "write them to this file").type_name("FILE");
             });
  add_action(tune, "report", "a page of a device: each kernel's landscape of schedules, the chosen one, predictions",
             report, [](Command command, Options& options) {
               add_device_name(command, options).required();
               command.add_option("--out", options.out, "the page, an HTML file").required().type_name("FILE");
             });
  add_action(tune, "import", "merges files of records into yours; of two of the same work the later one stays",
             import_files, [](Command command, Options& options) {
               add_files(command, options, "as 'mambac tune export' writes them").required();
             });
  add_action(tune, "merge", "merges files of records of one device into one, without yours", merge_files,
             [](Command command, Options& options) {
               add_files(command, options, "as 'mambac tune export' writes them").required();
               command.add_option("--out", options.out, "where to write").required().type_name("FILE");
             });
  add_action(tune, "verify", "reads all records, or those of files, and says what is wrong; removes nothing", verify,
             [](Command command, Options& options) { add_files(command, options, "other files than yours"); });
  add_action(tune, "clear", "removes your records, and what the searches for them tried", clear,
             [](Command command, Options& options) {
               const Option device = add_device_name(command, options);
               command.add_flag("--all", options.all, "of all devices");
               device.excludes(command.option("--all"));
             });
}

}  // namespace mambac::tools
