// What a bug leaves behind, and how it is made small: with the driver of planted_driver.cpp, which has bugs.
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "frontend/model.h"
#include "passes/pipeline_text.h"
#include "tests/tools_support.h"

namespace mambac::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// Runs the driver with this bug; its temporary files lie in the folder.
Outcome planted(const TemporaryFolder& folder, const std::string& bug, const std::string& rest) {
  return shell(folder, "mkdir -p tmp; export TMPDIR=$PWD/tmp MAMBAC_PLANTED=" + bug + "; " + rest);
}

const std::string kPlanted = "'" MAMBAC_PLANTED_DRIVER "' ";

/// The last path on standard error; the shell may say behind it that a signal ended the driver.
fs::path named_folder(const std::string& error) {
  std::string path;
  std::stringstream lines(error);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with('/')) path = line;
  return path;
}

/// The lines that say what went wrong.
std::string error_of(const Outcome& outcome) {
  std::string error;
  std::stringstream lines(outcome.error);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("mambac: internal error")) error += line + "\n";
  return error;
}

/// The folder that the last line names; its command ends in the same way as the outcome did.
fs::path reproducer_of(const TemporaryFolder& folder, const std::string& bug, const Outcome& outcome) {
  const fs::path reproducer = named_folder(outcome.error);
  EXPECT_TRUE(fs::is_directory(reproducer)) << outcome.error;
  for (const char* file : {"command.sh", "environment.json", "error.txt", "graph.mb", "model.mb"})
    EXPECT_TRUE(fs::exists(reproducer / file)) << file;
  const Outcome again = planted(folder, bug, "sh '" + reproducer.string() + "/command.sh'");
  EXPECT_EQ(again.code, outcome.code);
  EXPECT_NE(error_of(again), "");
  EXPECT_EQ(error_of(again), error_of(outcome));
  return reproducer;
}

TEST(Reproducer, OfAFailedPass) {
  const TemporaryFolder folder;
  const Outcome outcome = planted(folder, "throw", kPlanted + "dump mambabyte:tiny --stage all --out dumps");
  EXPECT_EQ(outcome.code, 70);
  EXPECT_NE(outcome.error.find("internal error: in the pass regroup: planted: node '"), std::string::npos)
      << outcome.error;
  EXPECT_NE(outcome.out.find("dumps/02-differentiate.mb\n"), std::string::npos) << outcome.out;
  const fs::path reproducer = reproducer_of(folder, "throw", outcome);
  EXPECT_TRUE(outcome.error.ends_with("\n" + reproducer.string() + "\n")) << outcome.error;

  const std::string graph = contents(reproducer / "graph.mb");
  std::string dumped = contents(folder / "dumps/02-differentiate.mb");
  EXPECT_TRUE(dumped.starts_with("# mambac after differentiate: graph=train dtype=f32\n"));
  EXPECT_EQ(passes_of(graph), std::vector<std::string>{"regroup"});
  EXPECT_EQ(graph, dumped.insert(dumped.find('\n') + 1, passes_text({"regroup"})));
  EXPECT_NO_THROW(model_from_text(contents(reproducer / "model.mb"), "model.mb"));
  const Json environment = Json::parse(contents(reproducer / "environment.json"));
  EXPECT_EQ(environment.at("arguments").at(2), "mambabyte:tiny");
  EXPECT_TRUE(environment.at("processor").contains("model"));
  EXPECT_EQ(environment.at("variables").at("MAMBAC_PLANTED"), "throw");
}

TEST(Reproducer, OfAGraphThatIsRefused) {
  const TemporaryFolder folder;
  const Outcome outcome = planted(folder, "refused", kPlanted + "dump mambabyte:tiny --stage all --out dumps");
  EXPECT_EQ(outcome.code, 70);
  EXPECT_NE(outcome.error.find("in the pass regroup: graph '"), std::string::npos) << outcome.error;
  const fs::path reproducer = reproducer_of(folder, "refused", outcome);
  const std::string refused = contents(reproducer / "refused.mb");
  EXPECT_NE(refused.find("bf16[B, L"), std::string::npos);
  EXPECT_EQ(contents(folder / "dumps/05-regroup.refused.mb"), refused);
}

TEST(Reproducer, OfASignal) {
  const TemporaryFolder folder;
  const Outcome outcome = planted(folder, "abort", kPlanted + "dump mambabyte:tiny --stage fuse");
  EXPECT_EQ(outcome.code, 128 + SIGABRT);
  EXPECT_NE(outcome.error.find("in the pass regroup: SIGABRT"), std::string::npos) << outcome.error;
  reproducer_of(folder, "abort", outcome);
}

/// What never ends is asked from outside.
TEST(Reproducer, OfWhatNeverEnds) {
  const TemporaryFolder folder;
  const Outcome outcome = planted(folder, "hang", kPlanted + "dump mambabyte:tiny & sleep 1; kill -ABRT $!; wait $!");
  EXPECT_EQ(outcome.code, 128 + SIGABRT);
  EXPECT_NE(outcome.error.find("in the pass regroup: SIGABRT"), std::string::npos) << outcome.error;
  EXPECT_TRUE(contents(named_folder(outcome.error) / "graph.mb").starts_with("# mambac after differentiate"));
}

TEST(Reproducer, OfAKernelThatCannotBeLowered) {
  const TemporaryFolder folder;
  folder.write("m.mb", R"(free B, L
model m<E = 4>(x: [B, L, E]) { return y = scan<L>(exp(0.5 * x), x) })");
  for (const std::string command : {"dump m.mb --graph prefill --stage cuda", "dump m.mb --graph step --stage kernels",
                                    "dump m.mb --graph prefill --stage kernels --schedule k0:tile=16"}) {
    const Outcome outcome = planted(folder, "lower", kPlanted + command);
    if (command.find("step") != std::string::npos) {
      EXPECT_EQ(outcome.code, 0) << outcome.error;  // it has no scan
      continue;
    }
    EXPECT_EQ(outcome.code, 70) << outcome.error;
    const fs::path reproducer = reproducer_of(folder, "lower", outcome);
    EXPECT_TRUE(contents(reproducer / "graph.mb").starts_with("# mambac after stores: graph=prefill"));
  }
}

TEST(Reproducer, WhenNothingFailed) {
  const TemporaryFolder folder;
  const std::string command = "dump mingru:tiny --graph step --stage fuse";
  const Outcome outcome = planted(folder, "", "mambac " + command + " --save-repro");
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  const fs::path reproducer = named_folder(outcome.error);
  EXPECT_EQ(outcome.out, succeed(folder, "mambac " + command));
  EXPECT_EQ(outcome.out, succeed(folder, "sh '" + reproducer.string() + "/command.sh'"));
  EXPECT_TRUE(contents(reproducer / "graph.mb").starts_with("# mambac after source: graph=step"));
}

TEST(Reproducer, KnowsSeeds) {
  const TemporaryFolder folder;
  folder.write("m.mb", "free B\nmodel m<E = 4>() { param w: [E] = normal(0, 1)  return y = exp(w) }");
  const Outcome outcome = planted(folder, "", "mambac run m.mb --seed 17 --out result --save-repro");
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  const Json environment = Json::parse(contents(named_folder(outcome.error) / "environment.json"));
  EXPECT_EQ(environment.at("seeds").at("run"), 17);
}

}  // namespace
}  // namespace mambac::test
