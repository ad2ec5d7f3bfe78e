// mambac tune as a user runs it, and what other commands make of its records.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/tools_support.h"

namespace mambac::test {
namespace {

using nlohmann::json;

class ToolsTune : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    out_ = new std::string(succeed(*folder_, kTune + " --budget 30s --json"));
  }
  static void TearDownTestSuite() {
    delete out_;
    delete folder_;
  }

  static inline const std::string kOptions = " --graph step --dtype f32 --set B=1 ";
  static inline const std::string kTune =
      "export MAMBAC_TUNED=$PWD/tuned\nmambac tune mambabyte:tiny" + kOptions + "--kernels softplus";
  static inline const std::string kExplain = "mambac explain mambabyte:tiny softplus" + kOptions;
  static inline TemporaryFolder* folder_ = nullptr;
  static inline std::string* out_ = nullptr;
};

std::string sources_of(const std::string& explained) {
  std::string sources;
  const json explanation = json::parse(explained);
  for (const json& kernel : explanation["kernels"])
    for (const auto& [axis, choice] : kernel["schedule"].items())
      if (axis == "tile")
        sources += choice["source"].get<std::string>() + (kernel["record"].is_null() ? "" : "+") + " ";
  return sources;
}

TEST_F(ToolsTune, KeepsRecordsThatExplainNames) {
  const json result = json::parse(*out_);
  ASSERT_FALSE(result["kernels"].empty());
  for (const json& kernel : result["kernels"]) {
    EXPECT_EQ(kernel["state"], "tuned") << kernel;
    EXPECT_GE(kernel["ratio"].get<double>(), 1.0) << kernel;
  }
  EXPECT_EQ(sources_of(succeed(*folder_, "export MAMBAC_TUNED=$PWD/tuned; " + kExplain + "--json")).find("heuristic"),
            std::string::npos);
  EXPECT_EQ(sources_of(succeed(*folder_, "export MAMBAC_TUNED=$PWD/tuned; " + kExplain + "--tuned off --json"))
                .find("record"),
            std::string::npos);
}

TEST_F(ToolsTune, RecordsServeWhereTheyAreCopiedTo) {
  const std::string explained =
      succeed(*folder_, "mkdir -p elsewhere; cp tuned/*.json elsewhere/; export MAMBAC_TUNED=$PWD/elsewhere; " +
                            kExplain + "--json");
  EXPECT_NE(sources_of(explained).find("user's record+"), std::string::npos) << explained;
  const std::string pinned =
      succeed(*folder_, "export MAMBAC_TUNED=$PWD/none; " + kExplain + "--json --tuned $(ls tuned/*.json)");
  EXPECT_NE(sources_of(pinned).find("pinned record+"), std::string::npos) << pinned;
}

TEST_F(ToolsTune, ASecondRunHasNothingToDo) {
  const json again = json::parse(succeed(*folder_, kTune + " --budget 30s --json"));
  for (const json& kernel : again["kernels"]) EXPECT_EQ(kernel["state"], "had a record") << kernel;
}

TEST_F(ToolsTune, ADamagedFileIsToldOfAndLeftOut) {
  const Outcome outcome =
      shell(*folder_,
            "mkdir -p damaged; for f in tuned/*.json; do head -c 100 $f > damaged/$(basename $f); done\n"
            "export MAMBAC_TUNED=$PWD/damaged; " +
                kExplain + "--json");
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_NE(outcome.error.find("is damaged"), std::string::npos) << outcome.error;
  EXPECT_EQ(sources_of(outcome.out).find("record"), std::string::npos);
}

TEST_F(ToolsTune, WritesAPage) {
  const std::string device = json::parse(contents(json::parse(*out_)["file"].get<std::string>()))["device"];
  succeed(*folder_, "export MAMBAC_TUNED=$PWD/tuned; mambac tune report --device '" + device + "' --out page.html");
  const std::string page = contents(*folder_ / "page.html");
  EXPECT_NE(page.find("softplus"), std::string::npos);
  EXPECT_NE(page.find("<circle"), std::string::npos);
}

TEST_F(ToolsTune, CheckpointsHoldTheRecordsOfTheirRun) {
  folder_->write("text.txt", learnable_text(20000));
  succeed(*folder_,
          "export MAMBAC_TUNED=$PWD/tuned; mambac train mambabyte:tiny --data text.txt --out run --steps 2 "
          "--batch 1 --context 64");
  EXPECT_NE(contents(*folder_ / "run/latest/tuned.json").find("\"device\""), std::string::npos);
  succeed(*folder_,
          "export MAMBAC_TUNED=$PWD/none; mambac train mambabyte:tiny --data text.txt --out run --steps 3 "
          "--batch 1 --context 64 --resume");
  const Outcome without =
      shell(*folder_,
            "rm run/latest/tuned.json; mambac train mambabyte:tiny --data text.txt --out run --steps 4 "
            "--batch 1 --context 64 --resume");
  EXPECT_EQ(without.code, 0) << without.error;
  EXPECT_NE(without.error.find("tuned.json' is not there: the run goes on"), std::string::npos) << without.error;
}

TEST_F(ToolsTune, MistakesAreTold) {
  struct Mistake {
    const char* arguments;
    int code;
    const char* says;
  };
  const Mistake mistakes[] = {
      {"tune", 2, "MODEL is required"},
      {"tune mambabyte:tiny --budget soon", 1, "expected a time such as 90s"},
      {"tune mambabyte:tiny --budget -3s", 1, "expected a time such as 90s"},
      {"tune mambabyte:tiny --kernels nothing.such", 1, "no kernel has 'nothing.such' in its name"},
      {"tune mambabyte:tiny --graph al", 1, "--graph: found 'al', expected all, train, prefill, step or eval"},
      {"tune mambabyte:tiny --kernels gather", 1, "schedules can be chosen"},
      {"tune mambabyte:tiny --predict --kernels dot --device-file zen4", 1, "schedules can be predicted"},
      {"tune mambabyte:tiny --device-file h200 --kernels softplus", 1, "'h200' describes a GPU, expected a CPU"},
      {"tune mambabyte:tiny --device cuda-emulated --device-file zen4 --kernels softplus", 1,
       "describes a CPU, expected a GPU"},
      {"tune mambabyte:tiny --predict", 2, "--device-file"},
      {"tune mambabyte:tiny --predict --device-file h2oo", 1, "h2oo"},
      {"tune nosuchmodel", 1, "nosuchmodel"},
      {"explain mambabyte:tiny --tuned nofile.json", 1, "nofile.json"},
  };
  for (const Mistake& mistake : mistakes) {
    const Outcome outcome = shell(*folder_, std::string("export MAMBAC_TUNED=$PWD/none; mambac ") + mistake.arguments);
    EXPECT_EQ(outcome.code, mistake.code) << mistake.arguments << "\n" << outcome.error;
    EXPECT_NE(outcome.error.find(mistake.says), std::string::npos) << mistake.arguments << "\n" << outcome.error;
  }
}

TEST_F(ToolsTune, APlaceThatIsNoneIsNoticedAtOnce) {
  folder_->write("file", "no folder");
  const std::string within = "export MAMBAC_TUNED=$PWD/file/tuned; ";
  Outcome outcome = shell(*folder_, within + "mambac tune mambabyte:tiny --kernels softplus" + kOptions);
  EXPECT_EQ(outcome.code, 3) << outcome.error;
  EXPECT_NE(outcome.error.find("cannot create"), std::string::npos) << outcome.error;
  outcome = shell(*folder_, within + kExplain);
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_NE(outcome.error.find("Not a directory; its records are not used"), std::string::npos) << outcome.error;
}

TEST_F(ToolsTune, WaitsForAnotherTunerAndCanBeInterrupted) {
  const Outcome outcome = shell(*folder_,
                                "flock $(ls -d tuned/.*.measuring.lock) sleep 4 & sleep 0.5\n"
                                "export MAMBAC_TUNED=$PWD/tuned\ntimeout -s INT 2 '" MAMBAC_DRIVER
                                "' tune mambabyte:tiny --kernels softplus" +
                                    kOptions);
  EXPECT_EQ(outcome.code, 124) << outcome.error;  // of timeout
  const std::string said = "another tuner measures this device";
  EXPECT_NE(outcome.error.find(said), std::string::npos) << outcome.error;
  EXPECT_EQ(outcome.error.find(said), outcome.error.rfind(said)) << "once";
}

TEST_F(ToolsTune, ADescriptionOfNumbersThatCannotBeIsRefused) {
  const auto refuses = [&](const std::string& edit, const std::string& said) {
    const Outcome outcome =
        shell(*folder_, "sed '" + edit + "' '" MAMBAC_DEVICES "/zen4.json' > odd.json\n" +
                            "mambac tune mambabyte:tiny --predict --device-file ./odd.json" + kOptions);
    EXPECT_EQ(outcome.code, 1) << outcome.error;
    EXPECT_NE(outcome.error.find("'./odd.json'"), std::string::npos) << outcome.error;
    EXPECT_NE(outcome.error.find(said), std::string::npos) << outcome.error;
  };
  refuses(R"(s/"threads": [0-9]*/"threads": 1000000/)", "expected a whole number up to 4096");
  refuses(R"(s/"clock": [0-9.e]*/"clock": 1e-300/; s/"launch_seconds": [-0-9.e]*/"launch_seconds": 1e308/)",
          "expected such that times are finite");
  refuses(R"(s/"sources": /"sources": )" + std::string(100, '[') + "/", "more than 32 deep");
}

TEST_F(ToolsTune, ASurveySaysWhatPredictionsAreWorthAndKeepsNothing) {
  const std::string survey = "export MAMBAC_TUNED=$PWD/surveyed\nmambac tune mambabyte:tiny" + kOptions +
                             "--kernels softplus --survey --device-file zen4";
  const json kernels = json::parse(succeed(*folder_, survey + " --json"));
  ASSERT_FALSE(kernels.empty());
  for (const json& kernel : kernels) {
    EXPECT_GT(kernel["schedules"].get<int>(), 2) << kernel;
    EXPECT_EQ(kernel["tried"].size(), kernel["schedules"].get<size_t>());
    for (const json& tried : kernel["tried"]) {
      EXPECT_NE(tried["schedule"].get<std::string>().find("tile="), std::string::npos) << tried;
      EXPECT_GT(tried["ratio"].get<double>(), 0) << tried;
    }
    EXPECT_LE(std::abs(kernel["rank_correlation"].get<double>()), 1) << kernel;
    EXPECT_GE(kernel["best_of_five"].get<double>(), 1) << kernel;
    EXPECT_LE(kernel["fastest"].get<double>(), 1) << kernel;
    EXPECT_EQ(kernel["ordered"].is_null(), kernel["told_apart"].get<double>() == 0) << kernel;
  }
  EXPECT_NE(succeed(*folder_, survey).find("correlation"), std::string::npos);
  EXPECT_EQ(succeed(*folder_, "ls surveyed"), "") << "nothing but a hidden lock";
  EXPECT_EQ(shell(*folder_, survey + " --predict").code, 2);
}

TEST_F(ToolsTune, ACalibrationIsADescription) {
  succeed(*folder_, "mambac tune --calibrate --out here.json");
  const json description = json::parse(contents(*folder_ / "here.json"));
  EXPECT_EQ(description["kind"], "cpu");
  folder_->write("plus.mb", "free B, L\nmodel plus(x: [B, L]) -> [B, L] {\n  return y = x + 1\n}\n");
  const json predicted = json::parse(
      succeed(*folder_, "mambac tune plus.mb --graph prefill --predict --device-file here.json --json"));
  EXPECT_GT(predicted["kernels"][0]["best"][0]["seconds"].get<double>(), 0);
  EXPECT_EQ(shell(*folder_, "mambac tune --out x.json").code, 2);
  EXPECT_EQ(shell(*folder_, "mambac tune mambabyte:tiny --calibrate").code, 2);
  for (const char* name : {"zen4", "lakemont"}) {  // LLVM has no such processor, and no 64-bit one
    const Outcome unknown = shell(
        *folder_, std::string("sed 's/\"architecture\": \"[^\"]*\"/\"architecture\": \"") + name +
                      "\"/' here.json > other.json\nmambac tune mambabyte:tiny --predict --device-file other.json");
    EXPECT_EQ(unknown.code, 1) << unknown.error;
    EXPECT_NE(unknown.error.find("other.json"), std::string::npos) << unknown.error;
    EXPECT_NE(unknown.error.find(name), std::string::npos) << unknown.error;
  }
}

TEST_F(ToolsTune, AnyModelIsABenchmark) {
  const json rows = json::parse(succeed(*folder_,
                                        "mambac bench --model mambabyte:tiny --graph step --dtype f32 --set B=3 "
                                        "--rounds 2 --kernels --json"));
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0]["work"], "mambabyte:tiny, step, f32, B 3");
  EXPECT_GT(rows[0]["ratio"].get<double>(), 0);
  EXPECT_FALSE(rows[0].contains("at_most"));
  const json times =
      json::parse(succeed(*folder_, "mambac bench --model mambabyte:tiny --set B=1 L=9 --rounds 2 --no-floors --json"));
  EXPECT_FALSE(times[0].contains("ratio"));
  EXPECT_EQ(shell(*folder_, "mambac bench scan --model mambabyte:tiny").code, 2);
  for (const char* option : {"--graph step", "--dtype f32", "--set B=2"})
    EXPECT_EQ(shell(*folder_, std::string("mambac bench scan ") + option).code, 2) << option;
}

}  // namespace
}  // namespace mambac::test
