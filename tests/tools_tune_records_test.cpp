// The commands of 'mambac tune' for records that there are.
#include <nlohmann/json.hpp>

#include "tests/tools_support.h"
#include "tests/tuning_support.h"
#include "tests/variable.h"

namespace mambac::test {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

class TuneCommand : public testing::Test {
 protected:
  TemporaryFolder folder;
  const std::string here = "export MAMBAC_TUNED=tuned; ";

  std::string tune(const std::string& arguments) { return succeed(folder, here + "mambac tune " + arguments); }
  Outcome fail(const std::string& arguments, int code = 1) {
    const Outcome outcome = shell(folder, here + "mambac tune " + arguments);
    EXPECT_EQ(outcome.code, code) << arguments << "\n" << outcome.error;
    EXPECT_EQ(outcome.error.find("internal"), std::string::npos) << outcome.error;
    return outcome;
  }
  void expect_failure(const std::string& arguments, const std::string& said, const std::string& also = "",
                      int code = 1) {
    const Outcome outcome = fail(arguments, code);
    EXPECT_TRUE(says(outcome.error, said, also)) << arguments << "\n" << outcome.error;
  }
  void write(const std::string& name, const TuningFile& file) { folder.write(name, tuning_text(file)); }
  TuningFile kept() { return parse_tuning(contents(folder / "tuned/test-gpu-1.json"), "kept"); }
};

TEST_F(TuneCommand, ImportsAndLists) {
  write("a.json", sample_file({64, 128}));
  EXPECT_TRUE(says(tune("import a.json"), "'a.json': of 2 records of Test GPU 1 2 are new, 0 newer"));
  TuningFile other{kGpu, {sample_record(64, "2024-12-01"), sample_record(128, "2020-01-01"), sample_record(256)}};
  write("b.json", other);
  const Json merged = Json::parse(tune("import --json b.json a.json"))["files"];
  EXPECT_EQ(merged[0],
            Json::parse(R"({"file": "b.json", "device": "Test GPU 1", "new": 1, "newer": 1, "older": 1, "same": 0})"));
  EXPECT_EQ(merged[1]["older"], 1);
  EXPECT_EQ(merged[1]["same"], 1);
  EXPECT_EQ(kept().records.size(), 3u);
  EXPECT_EQ(record_at(kept(), 64).date, "2024-12-01");

  const std::string list = tune("list --device 'Test GPU 1'");
  EXPECT_TRUE(says(list, "Test GPU 1\n", "heuristic us")) << list;
  EXPECT_TRUE(says(list, "scan_fwd  001122334455  B=8 L=128         20.00      12.50   1.60  2024-11-27  user\n"))
      << list;
  EXPECT_TRUE(says(list, "3 records of 1 devices")) << list;
  EXPECT_EQ(tune("list --device test-gpu-1"), list);
  EXPECT_TRUE(says(tune("list"), "B=8 L=256", "Test GPU 1\n"));
  const Json records = Json::parse(tune("list --device test-gpu-1 --json"))["records"];
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0]["sizes"]["L"], 64);
  EXPECT_EQ(records[0]["source"], "user");
  EXPECT_EQ(records[0]["schedule"]["tile"], 64);
  expect_failure("list --device 'Test GPU 2'", "no records of 'Test GPU 2'", "test-gpu-1");
}

TEST_F(TuneCommand, ImportChecksAllBeforeItMerges) {
  write("a.json", sample_file({64}));
  TuningFile illegal = sample_file({64});
  illegal.records[0].schedule.teams = 99;
  write("illegal.json", illegal);
  folder.write("damaged.json", "{");
  expect_failure("import a.json illegal.json", "'illegal.json': scan_fwd at B=8 L=64: 'schedule': teams=99", "at most");
  expect_failure("import a.json damaged.json", "'damaged.json' is damaged");
  expect_failure("import a.json none.json", "none.json", "No such file");
  EXPECT_FALSE(fs::exists(folder / "tuned"));
  folder.write("tuned/test-gpu-1.json", "{");
  const Outcome outcome = shell(folder, here + "mambac tune import a.json");
  EXPECT_EQ(outcome.code, 0);
  EXPECT_TRUE(says(outcome.error, "warning", "test-gpu-1.json.damaged")) << outcome.error;
  EXPECT_EQ(contents(folder / "tuned/test-gpu-1.json.damaged"), "{");
  EXPECT_EQ(kept().records.size(), 1u);
}

TEST_F(TuneCommand, ImportLeavesFilesOfOthersAlone) {
  write("a.json", {"test GPU-1", {sample_record(64)}});
  write("tuned/test-gpu-1.json", sample_file({64}));
  const std::string before = contents(folder / "tuned/test-gpu-1.json");
  expect_failure("import a.json", "'device': found \"Test GPU 1\"", "expected \"test GPU-1\"");
  std::string newer = before;
  newer.replace(newer.find("\"format\": 1"), 11, "\"format\": 2");
  folder.write("tuned/test-gpu-1.json", newer);
  write("b.json", sample_file({64}));
  expect_failure("import b.json", "found format 2", "another version");
  EXPECT_EQ(contents(folder / "tuned/test-gpu-1.json"), newer);
  write("c.json", {"NVIDIA_H200", {sample_record(64)}});
  expect_failure("import c.json", "found \"NVIDIA_H200\", expected \"NVIDIA H200\"", "shipped device");
  EXPECT_FALSE(fs::exists(folder / "tuned/nvidia-h200.json"));
}

TEST_F(TuneCommand, OfTwoDevicesWithOneFileNameTheNamedOneIsTaken) {
  write("tuned/nvidia-h200.json", {"NVIDIA_H200", {sample_record(64)}});
  EXPECT_EQ(tune("export --device NVIDIA_H200"), tuning_text({"NVIDIA_H200", {sample_record(64)}}));
  EXPECT_EQ(tune("export --device 'NVIDIA H200'").find("scan_fwd"), std::string::npos);
  expect_failure("export --device nvidia-h200", "expected one of the devices", "NVIDIA_H200");
}

TEST_F(TuneCommand, NumbersThatCannotBeAreRefused) {
  const auto refuses = [&](const std::function<void(TuningRecord&)>& spoil, const std::string& said) {
    TuningFile file = sample_file({64});
    spoil(file.records[0]);
    write("a.json", file);
    expect_failure("import a.json", "'a.json': scan_fwd at B=8 L=64: ", said);
    EXPECT_TRUE(says(fail("verify a.json").out, said));
  };
  refuses([](TuningRecord& record) { record.seconds = 0; }, "'seconds': found 0, expected 1e-09 to 1000000");
  refuses([](TuningRecord& record) { record.heuristic_seconds = 5e-324; }, "'heuristic_seconds': found 5e-324");
  refuses([](TuningRecord& record) { record.seconds = 1e308; }, "'seconds': found 1e+308");
  refuses([](TuningRecord& record) { record.predicted_seconds = 1e-300; },
          "'predicted_seconds': found 1e-300, expected 0, or");
  refuses([](TuningRecord& record) { record.spread = 1e308; }, "'spread': found 1e+308");
  refuses([](TuningRecord& record) { record.error = 1e300; }, "'error': found 1e+300");
  refuses([](TuningRecord& record) { record.in_program = 1e9; }, "'in_program': found 1000000000");
  refuses([](TuningRecord& record) { record.date = "2999-01-01"; }, "'date': found \"2999-01-01\", expected 2");
  EXPECT_FALSE(fs::exists(folder / "tuned"));
}

TEST_F(TuneCommand, ListsPrintDays) {
  write("tuned/test-gpu-1.json", {kGpu, {sample_record(64, "2024-11-27T16:05:09Z")}});
  EXPECT_TRUE(says(tune("list"), "2024-11-27  user"));
  EXPECT_TRUE(says(tune("show scan"), "2024-11-27T16:05:09Z"));
}

TEST_F(TuneCommand, ShowsBothSchedules) {
  TuningFile file = sample_file({64, 128});
  file.records[0].kernel[0] = 'f';
  file.records[0].predicted_seconds = 1.1e-5;
  write("a.json", file);
  tune("import a.json");
  for (const char* which : {"scan", "0011"}) {
    const std::string text = tune(std::string("show ") + which);
    EXPECT_TRUE(says(text, "tuned         12.50 us, within 0.4%\nheuristic     20.00 us, 1.60 times as long\n"))
        << text;
    EXPECT_TRUE(says(text, "* width                       64         32\n")) << text;
    EXPECT_TRUE(says(text, "  unroll                       8          8\n")) << text;
    EXPECT_TRUE(says(text, "key           00112233445566778899aabbccddeeff", "toolkit       NVRTC 13.0")) << text;
    EXPECT_EQ(says(text, "predicted     11.00 us"), which == std::string("scan")) << text;
  }
  EXPECT_EQ(Json::parse(tune("show f0 --json")).size(), 1u);
  EXPECT_EQ(Json::parse(tune("show scan --json --device 'Test GPU 1'")).size(), 2u);
  expect_failure("show scan_fdw", "found 'scan_fdw'", "did you mean 'scan_fwd'");
}

TEST_F(TuneCommand, ExportsWhatCanBeImported) {
  write("a.json", sample_file({128, 64}));
  tune("import a.json");
  const std::string text = tune("export --device 'Test GPU 1'");
  EXPECT_EQ(text, tuning_text(sample_file({64, 128})));
  EXPECT_TRUE(says(tune("export --device test-gpu-1 --out b.json"), "2 records of Test GPU 1 are in 'b.json'"));
  EXPECT_EQ(contents(folder / "b.json"), text);
  tune("clear --device test-gpu-1");
  tune("import b.json");
  EXPECT_EQ(contents(folder / "tuned/test-gpu-1.json"), text);
  expect_failure("export --device nothing", "no records of 'nothing'");
  expect_failure("export", "--device", "", 2);
  expect_failure("export --device test-gpu-1 --out no/b.json", "no/b.json", "No such file", 3);
}

TEST_F(TuneCommand, MergesFilesWithoutTheUsers) {
  write("own.json", sample_file({512}));
  tune("import own.json");
  write("a.json", sample_file({64}));
  write("b.json", {kGpu, {sample_record(64, "2025-01-01"), sample_record(128)}});
  EXPECT_TRUE(says(tune("merge a.json b.json --out a.json"), "2 records of Test GPU 1 are in 'a.json'"));
  const TuningFile merged = parse_tuning(contents(folder / "a.json"), "a.json");
  EXPECT_EQ(merged.records.size(), 2u);
  EXPECT_EQ(record_at(merged, 64).date, "2025-01-01");
  write("c.json", {"Test GPU 2", {}});
  expect_failure("merge a.json c.json --out d.json", "'c.json' has records of \"Test GPU 2\"", "as in 'a.json'");
  EXPECT_FALSE(fs::exists(folder / "d.json"));
  expect_failure("merge a.json", "--out", "", 2);
}

TEST_F(TuneCommand, VerifyRemovesNothing) {
  write("tuned/test-gpu-1.json", sample_file({64}));
  EXPECT_TRUE(says(tune("verify"), "'tuned/test-gpu-1.json': 1 records of Test GPU 1 are good"));
  write("tuned/other.json", sample_file({64}));
  folder.write("tuned/damaged.json", "x");
  TuningFile illegal = sample_file({64, 128});
  illegal.records[1].threads = 4;  // of a CPU, which has no teams
  illegal.records[1].schedule.teams = 2;
  write("illegal.json", illegal);
  Outcome outcome = fail("verify");
  EXPECT_TRUE(says(outcome.out, "'tuned/damaged.json' is damaged", "expected 'test-gpu-1.json'")) << outcome.out;
  EXPECT_TRUE(says(outcome.out, "'tuned/test-gpu-1.json': 1 records of Test GPU 1 are good")) << outcome.out;
  EXPECT_TRUE(says(outcome.error, "2 are wrong")) << outcome.error;
  EXPECT_TRUE(fs::exists(folder / "tuned/damaged.json"));
  outcome = fail("verify illegal.json tuned/other.json --json");
  const Json files = Json::parse(outcome.out)["files"];
  ASSERT_EQ(files.size(), 2u);
  EXPECT_TRUE(says(files[0]["problems"][0], "scan_fwd at B=8 L=128 threads=4: 'schedule': teams=2", "for a GPU"));
  EXPECT_TRUE(files[1]["problems"].empty()) << "a file that is named may have any name";
  // Damage is passed over with a warning where it is not asked for.
  outcome = shell(folder, here + "mambac tune list");
  EXPECT_EQ(outcome.code, 0);
  EXPECT_TRUE(says(outcome.error, "warning: passed over: 'tuned/damaged.json'", "'tuned/other.json'")) << outcome.error;
  EXPECT_TRUE(says(outcome.out, "B=8 L=64"));
  expect_failure("list --device damaged", "'tuned/damaged.json' is damaged");
}

TEST_F(TuneCommand, ClearsWhatIsNamed) {
  write("tuned/test-gpu-1.json", sample_file({64}));
  write("tuned/test-gpu-2.json", {"Test GPU 2", {}});
  folder.write("tuned/damaged.json", "x");
  expect_failure("clear", "--device or --all", "", 2);
  expect_failure("clear --all --device x", "--all", "", 2);
  expect_failure("clear --device x", "no records of 'x' in 'tuned'");
  EXPECT_TRUE(says(tune("clear --device 'Test GPU 2'"), "'tuned/test-gpu-2.json' is removed"));
  EXPECT_TRUE(fs::exists(folder / "tuned/test-gpu-1.json"));
  EXPECT_EQ(Json::parse(tune("clear --all --json"))["removed"].size(), 2u);
  EXPECT_FALSE(fs::exists(folder / "tuned/test-gpu-1.json"));
  EXPECT_TRUE(says(tune("clear --all"), "0 files removed"));
  write("tuned/test-gpu-1.json", sample_file({64}));
  folder.write("tuned/test-gpu-1.tried.jsonl", "");
  folder.write("tuned/test-gpu-2.tried.jsonl", "");
  tune("clear --device 'Test GPU 1'");
  EXPECT_FALSE(fs::exists(folder / "tuned/test-gpu-1.tried.jsonl"));
  tune("clear --all");
  EXPECT_FALSE(fs::exists(folder / "tuned/test-gpu-2.tried.jsonl"));
  for (const char* action : {"clear", "list", "show scan", "export", "report --out page.html"})
    expect_failure(std::string(action) + " --device ''", "--device: found '', expected the name of a device");
}

TEST_F(TuneCommand, NeedsAPlaceAndAnAction) {
  fail("", 2);
  EXPECT_TRUE(says(tune("--help"), "mambac tune list", "$MAMBAC_TUNED"));
  write("a.json", sample_file({64}));
  const std::string nowhere = "unset MAMBAC_TUNED XDG_DATA_HOME HOME; mambac tune ";
  for (const char* action : {"import a.json", "clear --all"}) {
    const Outcome outcome = shell(folder, nowhere + action);
    EXPECT_EQ(outcome.code, 3) << action;
    EXPECT_TRUE(says(outcome.error, "$MAMBAC_TUNED", "$HOME")) << outcome.error;
  }
  EXPECT_EQ(shell(folder, nowhere + "list").code, 0);
  EXPECT_EQ(shell(folder, nowhere + "verify").code, 0);
  EXPECT_EQ(shell(folder, nowhere + "report --device 'NVIDIA H200' --out page.html").code, 0);
  folder.write("file", "no folder");
  for (const char* action : {"list", "verify", "import a.json"})
    EXPECT_EQ(shell(folder, std::string("MAMBAC_TUNED=file mambac tune ") + action).code, 3) << action;
}

}  // namespace
}  // namespace mambac::test
