// Where records of tuning lie: files that several processes write, damage, full disks, and those that every build has.
#include "runtime/tuning/tuning_folder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "ir/error.h"
#include "tests/temporary_folder.h"
#include "tests/tuning_support.h"
#include "tests/variable.h"

namespace mambac::test {
namespace {

namespace fs = std::filesystem;

class Tuned : public testing::Test {
 protected:
  TemporaryFolder folder;
  const TuningFolder tuned{folder / "a" / "tuned"};  // neither is there at first
  const fs::path file = tuned.path_of(kGpu);

  /// The records of the device; their lengths.
  std::vector<int64_t> lengths() const {
    std::vector<int64_t> lengths;
    for (const TuningRecord& record : tuned.read(kGpu).records) lengths.push_back(record.sizes.at("L"));
    std::ranges::sort(lengths);
    return lengths;
  }
  /// The names in the folder, without that of the lock.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(tuned.folder()))
      if (entry.path().extension() != ".lock") names.push_back(entry.path().filename().string());
    std::ranges::sort(names);
    return names;
  }
};

using Names = std::vector<std::string>;
using Lengths = std::vector<int64_t>;

TEST(TuningFileName, IsThatOfTheDevice) {
  EXPECT_EQ(tuning_file_name("NVIDIA H200"), "nvidia-h200.json");
  EXPECT_EQ(tuning_file_name("../AMD EPYC 9R14 (znver4)"), "---amd-epyc-9r14--znver4-.json");
  EXPECT_EQ(why_misnamed({"NVIDIA H200", {}}, "somewhere/nvidia-h200.json"), "");
  const std::string reason = why_misnamed({"NVIDIA H200", {}}, "somewhere/h200.json");
  EXPECT_TRUE(says(reason, "'somewhere/h200.json': found the name 'h200.json'", "expected 'nvidia-h200.json'"));
}

TEST(TuningPlace, FollowsTheEnvironment) {
  const Variable home("HOME", "/home/someone");
  const Variable xdg("XDG_DATA_HOME", nullptr);
  const Variable own("MAMBAC_TUNED", nullptr);
  EXPECT_EQ(TuningFolder::default_folder(), "/home/someone/.local/share/mambac/tuned");
  const Variable relative("XDG_DATA_HOME", "relative");
  EXPECT_EQ(TuningFolder::default_folder(), "/home/someone/.local/share/mambac/tuned");
  const Variable absolute("XDG_DATA_HOME", "/var/data");
  EXPECT_EQ(TuningFolder::default_folder(), "/var/data/mambac/tuned");
  const Variable named("MAMBAC_TUNED", "/somewhere");
  EXPECT_EQ(TuningFolder::default_folder(), "/somewhere");
}

TEST(TuningPlace, MayBeNone) {
  const Variable home("HOME", nullptr);
  const Variable xdg("XDG_DATA_HOME", nullptr);
  const Variable own("MAMBAC_TUNED", nullptr);
  const TemporaryFolder here;
  const fs::path before = fs::current_path();
  fs::current_path(here.path());  // where an empty folder would lead to
  here.write("test-gpu-1.json", tuning_text(sample_file({64})));
  const TuningFolder nowhere(TuningFolder::default_folder());
  EXPECT_TRUE(nowhere.folder().empty());
  EXPECT_TRUE(nowhere.files().empty());
  EXPECT_TRUE(nowhere.read(kGpu).records.empty());
  EXPECT_FALSE(nowhere.clear(kGpu));
  EXPECT_TRUE(says(message_of<EnvironmentError>([&] { nowhere.merge(sample_file({128})); }), "$MAMBAC_TUNED", "$HOME"));
  EXPECT_EQ(contents(here / "test-gpu-1.json"), tuning_text(sample_file({64})));
  fs::current_path(before);
}

TEST_F(Tuned, MergesReadsAndClears) {
  EXPECT_TRUE(tuned.files().empty());
  EXPECT_TRUE(tuned.read(kGpu).records.empty());
  EXPECT_EQ(tuned.read(kGpu).device, kGpu);
  EXPECT_FALSE(tuned.clear(kGpu));
  EXPECT_FALSE(fs::exists(folder / "a")) << "reading made a folder";
  const TuningMerge first = tuned.merge(sample_file({64, 128}));
  EXPECT_FALSE(first.damaged);
  EXPECT_EQ(first.counts.added, 2);
  EXPECT_EQ(tuned.merge(sample_file({128, 256})).counts.same, 1);
  EXPECT_EQ(lengths(), (Lengths{64, 128, 256}));
  tuned.merge({"Another", {sample_record(64)}});
  EXPECT_EQ(tuned.files(), (std::vector<fs::path>{tuned.folder() / "another.json", file}));
  EXPECT_TRUE(tuned.clear(kGpu));
  EXPECT_FALSE(tuned.clear(kGpu));
  EXPECT_EQ(names(), Names{"another.json"});
}

TEST_F(Tuned, OtherFilesAreNotRecords) {
  folder.write("a/tuned/notes.txt", "");
  folder.write("a/tuned/.hidden.json", "");
  folder.write("a/tuned/test-gpu-1.json.damaged", "");
  EXPECT_TRUE(tuned.files().empty());
  folder.write("b", "a file");
  EXPECT_TRUE(
      says(message_of<EnvironmentError>([&] { TuningFolder(folder / "b").files(); }), "cannot read the folder"));
}

TEST_F(Tuned, DamageIsKeptAside) {
  const std::string good = tuning_text(sample_file({64, 128}));
  std::vector<std::string> all;
  for (size_t bytes = 0; bytes + 1 < good.size(); bytes += 97) all.push_back(good.substr(0, bytes));
  all.push_back(std::string(1 << 20, '\0'));
  for (const std::string& damaged : all) {
    fs::remove_all(tuned.folder());
    folder.write("a/tuned/test-gpu-1.json", damaged);
    EXPECT_TRUE(says(message_of<InputError>([&] { tuned.read(kGpu); }), file.string()));
    EXPECT_EQ(contents(file), damaged) << "reading changed it";
    const TuningMerge merged = tuned.merge(sample_file({256}));
    ASSERT_TRUE(merged.damaged);
    EXPECT_EQ(*merged.damaged, file.string() + ".damaged");
    EXPECT_EQ(contents(*merged.damaged), damaged);
    EXPECT_EQ(lengths(), Lengths{256});
  }
}

/// Of a device whose file has the same name, and of a version to come.
TEST_F(Tuned, FilesOfOthersAreLeftAlone) {
  std::string other_format = tuning_text(sample_file({64}));
  other_format.replace(other_format.find("\"format\": 1"), 11, "\"format\": 2");
  for (const std::string& foreign : {tuning_text({"test-gpu 1", {}}), other_format}) {
    folder.write("a/tuned/test-gpu-1.json", foreign);
    EXPECT_THROW(tuned.read(kGpu), ForeignRecords);
    EXPECT_TRUE(says(message_of<ForeignRecords>([&] { tuned.merge(sample_file({256})); }), file.string(), "expected"));
    EXPECT_EQ(contents(file), foreign);
    EXPECT_EQ(names(), Names{"test-gpu-1.json"});
  }
}

TEST_F(Tuned, ARecordOfNowTakesThePlaceOfAnyOther) {
  tuned.merge({kGpu, {sample_record(64, "2999-01-01")}});
  EXPECT_EQ(tuned.merge(sample_file({64})).counts.older, 1);
  EXPECT_EQ(tuned.merge(sample_file({64}), MergeRule::from).counts.replaced, 1);
  EXPECT_EQ(record_at(tuned.read(kGpu), 64), sample_record(64));
}

TEST_F(Tuned, LogsGoWithTheirRecords) {
  tuned.merge(sample_file({64}));
  folder.write("a/tuned/test-gpu-1.tried.jsonl", "");
  folder.write("a/tuned/another.tried.jsonl", "");
  EXPECT_EQ(TuningFolder::log_beside(file), tuned.folder() / "test-gpu-1.tried.jsonl");
  EXPECT_EQ(tuned.files(), std::vector<fs::path>{file});
  EXPECT_EQ(tuned.files_or_logs(), (std::vector<fs::path>{tuned.folder() / "another.json", file}));
  EXPECT_TRUE(tuned.clear(kGpu));
  EXPECT_EQ(names(), Names{"another.tried.jsonl"});
  EXPECT_TRUE(tuned.clear("Another"));
  EXPECT_EQ(names(), Names{});
}

TEST_F(Tuned, OnlyOneMeasuresADevice) {
  FileLock one = tuned.measuring_lock(kGpu);
  EXPECT_TRUE(one.try_lock());
  FileLock two = tuned.measuring_lock(kGpu), other = tuned.measuring_lock("Another");
  EXPECT_FALSE(two.try_lock());
  EXPECT_TRUE(other.try_lock());
  EXPECT_EQ(tuned.merge(sample_file({64})).counts.added, 1) << "it is not what writers lock";
  EXPECT_FALSE(two.try_lock()) << "a writer took its file for one that was not finished";
}

TEST_F(Tuned, AFileMayBeALink) {
  folder.write("elsewhere/records", "damaged");
  fs::create_directories(tuned.folder());
  fs::create_symlink(folder / "elsewhere/records", file);
  EXPECT_EQ(tuned.merge(sample_file({64})).damaged, folder / "elsewhere/records.damaged");
  EXPECT_EQ(contents(folder / "elsewhere/records.damaged"), "damaged");
  EXPECT_TRUE(fs::is_symlink(file));
  tuned.merge(sample_file({128}));
  EXPECT_EQ(lengths(), (Lengths{64, 128}));
  EXPECT_EQ(contents(folder / "elsewhere/records"), contents(file));
  EXPECT_EQ(names(), Names{"test-gpu-1.json"});
}

TEST_F(Tuned, EveryDamagedFileIsKept) {
  for (const std::string text : {"one", "two", "three"}) {
    folder.write("a/tuned/test-gpu-1.json", text);
    EXPECT_EQ(contents(tuned.merge(sample_file({64})).damaged.value_or("")), text);
  }
  EXPECT_EQ(names(), (Names{"test-gpu-1.json", "test-gpu-1.json.damaged", "test-gpu-1.json.damaged.2",
                            "test-gpu-1.json.damaged.3"}));
}

/// What the action throws where files have at most so many bytes, as on a full disk.
template <class Action>
std::string message_on_full_disk(rlim_t bytes, Action action) {
  signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{bytes, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = message_of<EnvironmentError>(action);
  setrlimit(RLIMIT_FSIZE, &before);
  return message;
}

TEST_F(Tuned, AFullDiskLosesNothing) {
  tuned.merge(sample_file({64}));
  for (const rlim_t bytes : {0, 100, 600}) {
    const std::string message = message_on_full_disk(bytes, [&] { tuned.merge(sample_file({128})); });
    EXPECT_TRUE(says(message, "cannot write '" + file.string(), "nothing was changed")) << message;
    EXPECT_EQ(lengths(), Lengths{64});
    EXPECT_EQ(names(), Names{"test-gpu-1.json"});
  }
  folder.write("a/tuned/test-gpu-1.json", "damaged");
  message_on_full_disk(100, [&] { tuned.merge(sample_file({128})); });
  EXPECT_EQ(contents(file), "damaged");
  EXPECT_EQ(names(), Names{"test-gpu-1.json"});
}

/// Root may write everywhere: it takes the place of another user until the end of the scope.
class NotRoot {
 public:
  NotRoot() {
    if (geteuid() == 0 && seteuid(65534) != 0) ADD_FAILURE() << "seteuid";
  }
  ~NotRoot() {
    if (getuid() == 0 && seteuid(0) != 0) ADD_FAILURE() << "seteuid";
  }
};

TEST_F(Tuned, AFolderThatCannotBeWrittenIsLeftAlone) {
  tuned.merge(sample_file({64}));
  fs::permissions(folder.path(), fs::perms(0755));
  fs::permissions(tuned.folder(), fs::perms(0555));
  {
    const NotRoot user;
    std::string message = message_of<EnvironmentError>([&] { tuned.merge(sample_file({128})); });
    EXPECT_TRUE(says(message, "Permission denied", file.string())) << message;
    message = message_of<EnvironmentError>([&] { tuned.merge({"Another", {sample_record(64)}}); });
    EXPECT_TRUE(says(message, "cannot lock", "another.json")) << message;
    message = message_of<EnvironmentError>([&] { tuned.clear(kGpu); });
    EXPECT_TRUE(says(message, "cannot remove", file.string())) << message;
    message = message_of<EnvironmentError>([&] { tuned.prepare(); });
    EXPECT_TRUE(says(message, "cannot write in the folder", "Permission denied")) << message;
    message = message_of<EnvironmentError>([&] { TuningFolder(folder / "b").merge(sample_file({64})); });
    EXPECT_TRUE(says(message, "cannot create", "Permission denied")) << message;
    EXPECT_EQ(lengths(), Lengths{64});
  }
  fs::permissions(tuned.folder(), fs::perms(0755));
  EXPECT_EQ(names(), Names{"test-gpu-1.json"});
}

TEST_F(Tuned, WhatCannotBeReadIsNotTakenForNothing) {
  tuned.merge(sample_file({64}));
  fs::permissions(folder.path(), fs::perms(0755));
  fs::permissions(tuned.folder(), fs::perms(0666));
  {
    const NotRoot user;
    const std::string message = message_of<EnvironmentError>([&] { tuned.read(kGpu); });
    EXPECT_TRUE(says(message, "cannot read '" + file.string(), "Permission denied")) << message;
  }
  fs::permissions(tuned.folder(), fs::perms(0755));
  const TuningFolder within_a_file(file);
  EXPECT_TRUE(says(message_of<EnvironmentError>([&] { within_a_file.read(kGpu); }), "Not a directory"));
  EXPECT_TRUE(says(message_of<EnvironmentError>([&] { within_a_file.prepare(); }), "cannot create"));
}

template <class Work>
pid_t in_child(Work work) {
  const pid_t child = fork();
  if (child != 0) return child;
  try {
    work();
    _exit(0);
  } catch (const std::exception&) {
    _exit(1);
  }
}

int status_of(pid_t child) {
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

TEST(TunedAtOnce, TwoProcessesLoseNothing) {
  constexpr int kMerges = 50;
  // In memory where that is a folder: on a disk, most of the time is that of making each merge durable.
  const Variable place("TMPDIR", fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path().string());
  const TemporaryFolder folder;
  const TuningFolder tuned(folder / "tuned");
  const auto merges = [&](int first) {
    for (int i = 0; i < kMerges; ++i) tuned.merge(sample_file({first + i, 1000}));
  };
  const pid_t one = in_child([&] { merges(1); }), two = in_child([&] { merges(1 + kMerges); });
  EXPECT_EQ(status_of(one), 0);
  EXPECT_EQ(status_of(two), 0);
  EXPECT_EQ(tuned.read(kGpu).records.size(), 2u * kMerges + 1);
  for (int i = 1; i <= 2 * kMerges; ++i) EXPECT_NO_THROW(record_at(tuned.read(kGpu), i)) << i;
  EXPECT_EQ(std::distance(fs::directory_iterator(tuned.folder()), {}), 2) << "a file and a lock";
}

TEST_F(Tuned, WhatAKilledWriterHeldIsFree) {
  tuned.merge(sample_file({64}));
  const pid_t child = in_child([&] {
    const int lock = open((tuned.folder() / ".test-gpu-1.json.lock").c_str(), O_RDONLY);
    if (lock < 0 || flock(lock, LOCK_EX) != 0) return;
    folder.write("a/tuned/.test-gpu-1.json.abcdef", "half of a fi");
    folder.write("a/tuned/.another.json.abcdef", "of another, that may be at work");
    folder.write("a/tuned/.test-gpu-1.json.swp", "an editor's");
    folder.write("a/tuned/.test-gpu-1.json.my-own", "anybody's");
    kill(getpid(), SIGKILL);
  });
  ASSERT_TRUE(WIFSIGNALED(status_of(child)));
  EXPECT_EQ(names().size(), 5u);
  tuned.merge(sample_file({128}));
  EXPECT_EQ(lengths(), (Lengths{64, 128}));
  EXPECT_EQ(names(),
            (Names{".another.json.abcdef", ".test-gpu-1.json.my-own", ".test-gpu-1.json.swp", "test-gpu-1.json"}));
}

TEST_F(Tuned, AWriterKilledAtAnyTimeLosesNothing) {
  TuningFile many{kGpu, {}};
  for (int i = 1; i <= 300; ++i) many.records.push_back(sample_record(i));
  for (int round = 0; round < 6; ++round) {
    const pid_t child = in_child([&] {
      for (int i = 0;; ++i) {
        many.records[0] = sample_record(10000 + round);
        many.records[0].seconds = i;
        tuned.merge(many);
      }
    });
    // As soon as it has merged once, and then some way into another merge.
    while (!fs::exists(file) || lengths().back() != 10000 + round)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::this_thread::sleep_for(std::chrono::milliseconds(3 + 5 * round));
    kill(child, SIGKILL);
    ASSERT_TRUE(WIFSIGNALED(status_of(child)));
    EXPECT_EQ(lengths().size(), 300u + static_cast<size_t>(round)) << "first " << lengths()[0];
  }
  EXPECT_FALSE(tuned.merge(sample_file({64})).damaged);
  EXPECT_EQ(names(), Names{"test-gpu-1.json"});
}

TEST(ShippedTuning, IsThatOfTheFolder) {
  std::vector<std::string> files, embedded;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(MAMBAC_TUNED_MODELS, none)) {
    if (entry.path().extension() != ".json") continue;
    files.push_back(entry.path().filename().string());
    const TuningFile file = parse_tuning(contents(entry.path()), entry.path().string());
    EXPECT_EQ(why_misnamed(file, entry.path()), "");
    EXPECT_EQ(shipped_tuning(file.device).records, file.records);
    EXPECT_EQ(tuning_text(file), contents(entry.path())) << "is not as 'mambac tune export' writes it";
  }
  for (const std::string& device : devices_with_shipped_tuning()) embedded.push_back(tuning_file_name(device));
  std::ranges::sort(files);
  std::ranges::sort(embedded);
  EXPECT_EQ(embedded, files);
  EXPECT_EQ(shipped_tuning("no device of this name").device, "no device of this name");
  EXPECT_TRUE(shipped_tuning("no device of this name").records.empty());
  for (const std::string& device : devices_with_shipped_tuning()) {
    std::string other = device;
    std::ranges::replace(other, ' ', '_');
    EXPECT_EQ(tuning_file_name(other), tuning_file_name(device));
    EXPECT_TRUE(other == device || shipped_tuning(other).records.empty()) << other;
  }
}

}  // namespace
}  // namespace mambac::test
