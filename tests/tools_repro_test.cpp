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

/// Whichever command runs the passes.
TEST(Reproducer, OfAPassThatOtherCommandsRun) {
  const TemporaryFolder folder;
  for (const std::string command : {"compare", "cost", "explain", "diff mambabyte:tiny"}) {
    const Outcome outcome = planted(folder, "throw", kPlanted + command + " mambabyte:tiny");
    EXPECT_EQ(outcome.code, 70) << command;
    EXPECT_EQ(passes_of(contents(reproducer_of(folder, "throw", outcome) / "graph.mb")),
              std::vector<std::string>{"regroup"})
        << command;
  }
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

/// The report is whole, whichever of them writes it.
TEST(Reproducer, OfThreadsThatCrashAtOnce) {
  const TemporaryFolder folder;
  for (int i = 0; i < 20; ++i) {
    const Outcome outcome = planted(folder, "threads", kPlanted + "dump mambabyte:tiny --stage fuse");
    EXPECT_EQ(outcome.code, 128 + SIGSEGV);
    EXPECT_NE(outcome.error.find("in the pass regroup: SIGSEGV"), std::string::npos) << outcome.error;
    EXPECT_EQ(error_of(outcome).find('\n'), error_of(outcome).size() - 1) << "more than one";
    EXPECT_TRUE(fs::exists(named_folder(outcome.error) / "graph.mb")) << outcome.error;
  }
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
  for (const std::string command :
       {"compare m.mb --graph prefill", "dump m.mb --graph prefill --stage cuda",
        "dump m.mb --graph step --stage kernels", "dump m.mb --graph prefill --stage kernels --schedule k0:tile=16"}) {
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

// ---- reduce ---------------------------------------------------------------------------------------------------------

struct Reduced {
  Json report;
  std::string text;
  Graph graph;
};

Reduced reduced_by(const TemporaryFolder& folder, const std::string& bug, const fs::path& reproducer,
                   const std::string& options = "") {
  const Outcome outcome = planted(folder, bug, kPlanted + "reduce '" + reproducer.string() + "' --json " + options);
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  const std::string text = contents(reproducer / "reduced.mb");
  Reduced reduced{Json::parse(outcome.out), text, parse_graph(text, "reduced.mb")};
  EXPECT_EQ(reduced.report.at("file"), (reproducer / "reduced.mb").string());
  return reduced;
}

/// Its command fails on what was reached as it did before.
void expect_same_error(const TemporaryFolder& folder, const std::string& bug, const fs::path& reproducer,
                       const std::string& part) {
  const Outcome again = planted(folder, bug, "sh '" + reproducer.string() + "/command.sh' reduced.mb");
  EXPECT_NE(again.error.find(part), std::string::npos) << again.error;
}

TEST(Reduce, EndsWithAFewOps) {
  const TemporaryFolder folder;
  const Outcome failed = planted(folder, "throw", kPlanted + "dump mambabyte:tiny --dtype bf16 --stage fuse");
  const fs::path reproducer = reproducer_of(folder, "throw", failed);
  const Reduced reduced = reduced_by(folder, "throw", reproducer);
  EXPECT_GT(reduced.report.at("ops_before"), 200);
  EXPECT_LE(reduced.report.at("ops"), 5) << reduced.text;
  EXPECT_LT(reduced.report.at("attempts"), 150);
  EXPECT_TRUE(reduced.text.starts_with("# mambac after differentiate: graph=eval dtype=f32\n# passes: regroup\n"));
  EXPECT_EQ(reduced.text.find("  @ "), std::string::npos) << "places are left out";
  for (const Dim& dim : reduced.graph.dims()) EXPECT_LE(dim.size, 1) << dim.name;
  expect_same_error(folder, "throw", reproducer, "in the pass regroup: planted: node '");
}

const std::string kSmallModel = R"(free B, L
model m<E = 4, F = 6>(x: [B, L, E]) {
  param w: [E, F] = normal(0, 1)
  y = tanh(x * 2.0)
  z = dot<E>(y, w)
  h = scan<L, reverse>(exp(0.5 * z), z)
  return out = sum<F>(h), other = softplus(y)
})";

/// Of crashes, and of code.
TEST(Reduce, SurvivesWhatItTries) {
  struct Bug {
    std::string name, command, said;
  };
  for (const Bug& bug : {Bug{"abort", "dump m.mb --graph eval", "in the pass regroup: SIGABRT"},
                         Bug{"lower", "dump m.mb --graph eval --stage kernels", "planted: kernel"}}) {
    const TemporaryFolder folder;
    folder.write("m.mb", kSmallModel);
    const Outcome failed = planted(folder, bug.name, kPlanted + bug.command);
    const Reduced reduced = reduced_by(folder, bug.name, reproducer_of(folder, bug.name, failed));
    EXPECT_LE(reduced.report.at("ops"), 3) << reduced.text;
    EXPECT_EQ(reduced.text.find("reverse"), std::string::npos) << reduced.text;
    expect_same_error(folder, bug.name, named_folder(failed.error), bug.said);
  }
}

TEST(Reduce, LooksForWhatNeverEnds) {
  const TemporaryFolder folder;
  folder.write("m.mb", "free B, L\nmodel m(x: [B, L]) { return y = tanh(scan<L>(0.5, exp(x))) }");
  succeed(folder, "mkdir own; mambac dump m.mb --graph eval --stage source --out own; mv own/*.mb own/graph.mb");
  folder.write("own/command.sh", "grep -q 'scan<' \"$1\" && sleep 60\nexit 0\n");
  const Reduced reduced = reduced_by(folder, "", folder / "own", "--limit 0.5");
  EXPECT_EQ(reduced.report.at("error"), "it does not end\n");
  EXPECT_EQ(reduced.report.at("ops"), 1) << reduced.text;
  EXPECT_NE(reduced.text.find("scan<L>"), std::string::npos) << reduced.text;
}

/// The failure is whatever a command says it is; passes and options go when they are not needed.
TEST(Reduce, AsksAnyCommand) {
  const TemporaryFolder folder;
  succeed(folder,
          "mkdir own; mambac dump mambabyte:tiny --dtype bf16 --stage source --out own; mv own/*.mb own/graph.mb");
  std::string graph = contents(folder / "own/graph.mb");
  folder.write("own/graph.mb", graph.insert(graph.find('\n') + 1, "# passes: simplify,differentiate,clean\n"));
  folder.write("own/command.sh", R"(
mambac=${MAMBAC:-mambac}
"$mambac" opt "$1" --out "$1.after" || exit 0
grep -q 'softplus(' "$1.after" || exit 0
echo "found softplus of $(wc -l < "$1.after") lines" >&2
exit 9
)");
  const Reduced reduced = reduced_by(folder, "", folder / "own");
  EXPECT_EQ(reduced.report.at("error"), "exit code 9: found softplus of _ lines\n");
  EXPECT_EQ(reduced.report.at("ops"), 1) << reduced.text;
  EXPECT_EQ(passes_of(reduced.text).size(), 1u) << reduced.text;
  EXPECT_TRUE(reduced.text.starts_with("# mambac after source: graph=eval dtype=f32\n")) << reduced.text;
}

TEST(Reduce, KeepsWhatItReachedWhenItIsInterrupted) {
  const TemporaryFolder folder;
  const Outcome failed = planted(folder, "throw", kPlanted + "dump mambabyte:tiny --stage fuse");
  const std::string reproducer = named_folder(failed.error).string();
  const Outcome outcome =
      planted(folder, "throw", kPlanted + "reduce '" + reproducer + "' --json & sleep 0.7; kill -TERM $!; wait $!");
  EXPECT_EQ(outcome.code, 128 + SIGTERM) << outcome.error;
  EXPECT_EQ(Json::parse(outcome.out).at("interrupted"), true);
  expect_same_error(folder, "throw", reproducer, "in the pass regroup: planted");
}

TEST(Reduce, SaysWhatIsNotToBeReduced) {
  const TemporaryFolder folder;
  folder.write("good/graph.mb", "# passes: simplify\nblock m() {\n return y = 1.0\n}\n");
  folder.write("good/command.sh", "exec \"$MAMBAC\" opt \"$1\"\n");
  folder.write("other/graph.mb", "block m() {\n return y = 1.0\n}\n");
  folder.write("other/command.sh", "exit 1\n");
  folder.write("lost/graph.mb", "block m() {\n return y = 1.0\n}\n");
  folder.write("lost/command.sh", "./no-such-program \"$1\"\n");
  const Outcome lost = shell(folder, "mambac reduce lost");
  EXPECT_EQ(lost.code, 1);
  EXPECT_NE(lost.error.find("cannot be run"), std::string::npos) << lost.error;
  const Outcome good = shell(folder, "mambac reduce good"), other = shell(folder, "mambac reduce other");
  EXPECT_EQ(good.code, 1);
  EXPECT_NE(good.error.find("good: the command ends well"), std::string::npos) << good.error;
  EXPECT_EQ(other.code, 1);
  EXPECT_NE(other.error.find("takes no graph"), std::string::npos) << other.error;
  EXPECT_EQ(shell(folder, "mambac reduce nowhere").code, 1);
}

}  // namespace
}  // namespace mambac::test
