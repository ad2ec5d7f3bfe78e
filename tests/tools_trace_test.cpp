// --trace of the driver, and what a profiler is told.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/cuda_support.h"
#include "tests/tools_support.h"

namespace mambac::test {
namespace {

using Json = nlohmann::json;

struct Event {
  std::string category, name;
  int64_t thread = 0, begin = 0, end = 0;  // in ns
  Json arguments;
  int parent = -1;  // in the list
};

int64_t nanoseconds(const Json& microseconds) {
  return std::llround(microseconds.get<double>() * 1000);
}

/// The spans of a trace with what encloses each; fails where two overlap otherwise.
std::vector<Event> events_of(const std::string& text) {
  std::vector<Event> events;
  std::map<int64_t, std::vector<int>> open;  // by thread
  const Json whole = Json::parse(text);
  for (const Json& json : whole.at("traceEvents")) {
    if (json.at("ph") != "X") continue;
    Event event{json.at("cat"), json.at("name"), json.at("tid"), nanoseconds(json.at("ts")), 0, json.at("args")};
    event.end = event.begin + nanoseconds(json.at("dur"));
    std::vector<int>& around = open[event.thread];
    while (!around.empty() && events[static_cast<size_t>(around.back())].end <= event.begin) around.pop_back();
    if (!around.empty()) {
      event.parent = around.back();
      EXPECT_LE(event.end, events[static_cast<size_t>(event.parent)].end) << event.name;
      EXPECT_GE(event.begin, events[static_cast<size_t>(event.parent)].begin) << event.name;
    }
    around.push_back(static_cast<int>(events.size()));
    events.push_back(std::move(event));
  }
  return events;
}

class Trace : public testing::Test {
 protected:
  void SetUp() override {
    folder.write("train.txt", learnable_text(20000));
    folder.write("valid.txt", learnable_text(2000));
  }

  std::string train(const std::string& options) const {
    return "mambac train mambabyte:tiny --data train.txt --valid valid.txt --valid-windows 4 --batch 2 --context 16 "
           "--recompute 0 " +
           options;
  }
  /// Of a graph of the same model, as `cost` has them.
  Json kernels_of(const std::string& graph) const {
    return Json::parse(succeed(folder, "mambac cost mambabyte:tiny --dtype f32 --json " + graph)).at("kernels");
  }
  std::vector<Event> events(const std::string& file = "t.json") const { return events_of(contents(folder / file)); }

  TemporaryFolder folder;
};

/// The event that encloses one, which must be there.
const Event& parent_of(const std::vector<Event>& events, const Event& event) {
  return events.at(static_cast<size_t>(event.parent));
}

using Names = std::multiset<std::string>;

/// The kernels that a run encloses, by their names in the graph, each as often as it is there.
Names kernels_within(const std::vector<Event>& events, size_t run) {
  Names found;
  for (const Event& event : events)
    if (event.parent == static_cast<int>(run)) found.insert(event.arguments.at("kernel").get<std::string>());
  return found;
}

const Event* first_named(const std::vector<Event>& events, const std::string& name) {
  const auto found = std::ranges::find(events, name, &Event::name);
  return found == events.end() ? nullptr : &*found;
}

TEST_F(Trace, OfTrainingHasEveryPhaseAndEveryKernelOncePerStep) {
  const Outcome outcome = shell(folder, train("--steps 3 --out run --trace t.json"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_TRUE(says(outcome.error, "'t.json' has ", "https://ui.perfetto.dev")) << outcome.error;
  const std::vector<Event> all = events();
  Names expected;
  for (const Json& kernel : kernels_of("--graph train --set B=2 L=16"))
    expected.insert(kernel.at("name").get<std::string>());
  ASSERT_GT(expected.size(), 20u);

  int steps = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].category != "run" || all[i].name != "mambabyte") continue;
    const Event& step = parent_of(all, all[i]);
    EXPECT_EQ(step.category, "step");
    if (!step.name.starts_with("train step ")) continue;
    EXPECT_EQ(step.name, "train step " + std::to_string(++steps));
    EXPECT_EQ(step.arguments.at("number"), steps);
    EXPECT_EQ(step.parent, -1);
    EXPECT_EQ(kernels_within(all, i), expected);
  }
  EXPECT_EQ(steps, 3);
  for (const char* name :
       {"parse mambabyte.mb", "instantiate mambabyte", "compile mambabyte for train", "differentiate", "fuse", "lower",
        "make machine code", "plan memory", "first values", "train step 1", "evaluation after step 3",
        "checkpoint after step 3", "draw a batch", "sum_squares", "adamw"})
    EXPECT_NE(first_named(all, name), nullptr) << name;
  EXPECT_EQ(parent_of(all, *first_named(all, "differentiate")).name, "compile mambabyte for train");
}

TEST_F(Trace, KernelsSayWhereTheyComeFromAndWhatTheyMove) {
  succeed(folder, train("--steps 1 --out run"));
  succeed(folder, "mambac generate run --prompt a --bytes 2 --trace t.json");
  std::map<std::string, double> bytes;
  for (const Json& kernel : kernels_of("--graph step --set B=1"))
    bytes[kernel.at("name")] = kernel.at("bytes_read").get<double>() + kernel.at("bytes_written").get<double>();
  const std::vector<Event> all = events();
  int scans = 0, steps = 0;
  for (const Event& event : all) {
    if (event.category != "kernel" || parent_of(all, event).name != "mambabyte") continue;
    EXPECT_EQ(event.arguments.at("bytes"), bytes.at(event.arguments.at("kernel"))) << event.name;
    EXPECT_NE(event.arguments.at("lines").get<std::string>().find(".mb:"), std::string::npos) << event.arguments;
    scans += event.name.find("_softplus_exp_step_") != std::string::npos;
    steps += event.arguments.at("kernel").get<std::string>().starts_with("k1_");
  }
  EXPECT_EQ(steps, 2);
  EXPECT_EQ(scans, steps * 2) << "of two layers";
}

TEST_F(Trace, MachineCodeIsMadeByWorkersOnceForEqualKernels) {
  succeed(folder, train("--steps 1 --out run --trace t.json"));
  std::map<std::string, int> made;  // by the kernel
  const std::vector<Event> all = events();
  for (const Event& event : all) {
    if (event.category != "llvm") continue;
    EXPECT_GT(event.thread, 1);
    made[event.name] += event.parent < 0;
    if (event.parent >= 0) {
      EXPECT_EQ(parent_of(all, event).category, "llvm") << event.name;
    }
  }
  // Of two layers, in the graph that trains; and in the one that evaluates, which keeps no states for a gradient.
  EXPECT_EQ(made["mamba_bwd_softplus_discretize_scan_silu_sum_gate_f32"], 1);
  EXPECT_EQ(made["mamba_fwd_project_softplus_discretize_scan_sum_gate_f32"], 2);
}

/// Events without their times; threads other than the main one may share out their work in any way.
Names content(const std::vector<Event>& events) {
  Names content;
  for (const Event& event : events) {
    const std::string parent = event.parent < 0 ? "" : parent_of(events, event).name;
    content.insert(Json({event.thread == 1, event.category, event.name, event.arguments, parent}).dump());
  }
  return content;
}

TEST_F(Trace, TwoRunsHaveTheSameEvents) {
  succeed(folder, train("--steps 2 --out one --trace one.json"));
  succeed(folder, train("--steps 2 --out other --trace other.json"));
  EXPECT_EQ(content(events("one.json")), content(events("other.json")));
}

TEST_F(Trace, OfGenerationEvaluationRunsAndBenchmarks) {
  succeed(folder, train("--steps 1 --out run"));
  succeed(folder, "mambac generate run --prompt 0123456789 --chunk 4 --bytes 3 --trace t.json");
  std::vector<std::string> steps;
  for (const Event& event : events())
    if (event.category == "step") steps.push_back(event.name);
  EXPECT_EQ(steps, (std::vector<std::string>{"prefill from byte 0", "prefill from byte 4", "decode step 1",
                                             "decode step 2", "decode step 3", "decode step 4"}));
  succeed(folder, "mambac eval run --data valid.txt --batch 50 --context 16 --trace t.json");
  EXPECT_NE(first_named(events(), "score from byte 0"), nullptr);
  folder.write("half.mb", "model half<D = 4>() {\n  param w: [D] = ones\n  return y = w * 0.5\n}\n");
  succeed(folder, "mambac run half.mb --out o --trace t.json");
  std::vector<Event> all = events();
  EXPECT_TRUE(std::ranges::any_of(all, [](const Event& event) { return event.category == "kernel"; }));
  succeed(folder, "mambac bench scan --rounds 1 --trace t.json >bench.txt");
  all = events();
  for (const char* name : {"prepare scan", "kernel by kernel 1", "floors"}) EXPECT_NE(first_named(all, name), nullptr);
}

TEST_F(Trace, LongRunsKeepWholeStepsAtBothEnds) {
  const Outcome outcome =
      shell(folder, train("--steps 60 --evaluations 1 --out run --trace t.json --trace-events 1000"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_TRUE(says(outcome.error, "spans of the middle are left out; --trace-events ")) << outcome.error;
  std::vector<std::string> steps;
  int64_t left_out = 0, kept = 0;
  std::map<std::string, int> within;
  const std::vector<Event> all = events();
  for (const Event& event : all) {
    if (event.name.starts_with("train step ")) steps.push_back(event.name);
    if (event.category == "left out") left_out += event.arguments.at("number").get<int64_t>();
    kept += event.thread == 1;
    for (const Event* inner = &event; inner->parent >= 0;) ++within[(inner = &parent_of(all, *inner))->name];
  }
  ASSERT_GT(steps.size(), 3u);
  EXPECT_LE(kept, 1001);
  EXPECT_GT(left_out, 1000);
  EXPECT_EQ(steps.back(), "train step 60");
  for (const std::string& step : steps) EXPECT_EQ(within[step], within["train step 60"]) << step;
}

TEST_F(Trace, AFailureLeavesTheFileAsItWas) {
  folder.write("t.json", "before");
  Outcome outcome = shell(folder, train("--steps 1 --out run --trace no/where.json"));
  EXPECT_EQ(outcome.code, 3);
  EXPECT_TRUE(says(outcome.error, "no/where.json", "nothing was changed")) << outcome.error;
  EXPECT_FALSE(std::filesystem::exists(folder / "run")) << "known before the work begins";
  std::filesystem::create_directory(folder / "there");
  outcome = shell(folder, train("--steps 1 --out run --trace there"));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(says(outcome.error, "--trace: 'there' is no regular file")) << outcome.error;
  outcome = shell(folder, train("--steps 1 --out train.txt --trace t.json"));  // no folder
  EXPECT_NE(outcome.code, 0);
  EXPECT_EQ(contents(folder / "t.json"), "before");
  outcome = shell(folder, train("--steps 1 --out run --trace-events 0 --trace t.json"));
  EXPECT_EQ(outcome.code, 2) << outcome.error;
  outcome = shell(folder, train("--steps 1 --out run --trace-events 10"));
  EXPECT_EQ(outcome.code, 2) << outcome.error;
  outcome = shell(folder, "ulimit -f 8; " + train("--steps 1 --out other --trace t.json"));
  EXPECT_NE(outcome.code, 0);
  EXPECT_EQ(contents(folder / "t.json"), "before");
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    EXPECT_FALSE(entry.path().filename().string().starts_with(".t.json")) << entry.path();
}

/// A command in the background that is sent a signal once the condition holds; its exit code.
Outcome interrupted(const TemporaryFolder& folder, const std::string& command, const std::string& condition,
                    const std::string& signal) {
  return shell(folder, "rm -f out log; '" MAMBAC_DRIVER "'" + command.substr(6) + " >out 2>log & child=$!\n" +
                           "while ! " + condition + "; do sleep 0.05; kill -0 $child || exit 98; done\nkill -" +
                           signal + " $child; wait $child");
}

TEST_F(Trace, AnInterruptKeepsWhatWasRecorded) {
  Outcome outcome = interrupted(folder, train("--steps 1000000 --evaluations 1000000 --out run --trace t.json"),
                                "grep -q 'step [0-9]' log", "INT");
  EXPECT_EQ(outcome.code, 130) << contents(folder / "log");
  EXPECT_TRUE(says(contents(folder / "log"), "'t.json' has ", "--resume")) << contents(folder / "log");
  EXPECT_NE(first_named(events(), "train step 1"), nullptr);
  EXPECT_NE(first_named(events(), "lower"), nullptr);

  outcome = interrupted(folder, "mambac generate run --bytes 100000000 --trace g.json", "test -s out", "TERM");
  EXPECT_EQ(outcome.code, 143) << contents(folder / "log");
  const std::vector<Event> all = events("g.json");
  EXPECT_NE(first_named(all, "decode step 1"), nullptr);
  EXPECT_GT(all.size(), 100u);
}

TEST_F(Trace, AnInterruptDuringCompilationShowsWhatWasUnderWay) {
  const Variable profiler("NVTX_INJECTION64_PATH", MAMBAC_FAKE_CUDA), ranges("FAKE_NVTX_FILE", "ranges");
  const Outcome outcome = interrupted(folder, train("--set layers=40 --steps 1 --out run --trace t.json"),
                                      "grep -qs 'push differentiate' ranges", "INT");
  EXPECT_EQ(outcome.code, 130) << contents(folder / "log");
  const std::vector<Event> all = events();
  const Event* compilation = first_named(all, "compile mambabyte for train");
  ASSERT_NE(compilation, nullptr);
  EXPECT_EQ(compilation->arguments, Json({{"unfinished", true}}));
  EXPECT_EQ(first_named(all, "train step 1"), nullptr);
}

// ---- profilers ------------------------------------------------------------------------------------------------------

TEST_F(Trace, AProfilerIsToldOfTheSameSpans) {
  const std::string fake = "export NVTX_INJECTION64_PATH='" MAMBAC_FAKE_CUDA "' FAKE_NVTX_FILE=ranges; ";
  succeed(folder, fake + train("--steps 2 --out run --trace t.json"));
  std::map<int, std::vector<std::string>> open;
  Names pushed, recorded;
  std::istringstream lines(contents(folder / "ranges"));
  for (std::string line; std::getline(lines, line);) {
    const int thread = std::stoi(line);
    const std::string what = line.substr(line.find(' ') + 1);
    if (what.starts_with("push ")) {
      const std::string around = open[thread].empty() ? "" : open[thread].back();
      open[thread].push_back(what.substr(5));
      pushed.insert(around + " > " + open[thread].back());
    } else {
      ASSERT_EQ(what, "pop");
      ASSERT_FALSE(open[thread].empty());
      open[thread].pop_back();
    }
  }
  for (const auto& [thread, names] : open) EXPECT_TRUE(names.empty()) << thread;
  const std::vector<Event> all = events();
  for (const Event& event : all)
    recorded.insert((event.parent < 0 ? "" : parent_of(all, event).name) + " > " + event.name);
  EXPECT_EQ(pushed, recorded);
  EXPECT_TRUE(pushed.contains("train step 2 > mambabyte"));
}

TEST_F(Trace, AProfilerThatCannotBeToldIsAWarning) {
  Outcome outcome = shell(folder, "NVTX_INJECTION64_PATH=/no/profiler.so mambac dump mambabyte:tiny --graph step");
  EXPECT_EQ(outcome.code, 0);
  EXPECT_TRUE(says(outcome.error, "warning: the profiler is told nothing", "/no/profiler.so")) << outcome.error;
  outcome = shell(folder, "FAKE_CUDA_FAIL=InitializeInjectionNvtx2=1 NVTX_INJECTION64_PATH='" MAMBAC_FAKE_CUDA
                          "' mambac dump mambabyte:tiny --graph step");
  EXPECT_EQ(outcome.code, 0);
  EXPECT_TRUE(says(outcome.error, "refuses to be attached")) << outcome.error;
}

TEST_F(Trace, OnAGpuCapturedCallsAreOneLaunch) {
  const std::string fake = "export MAMBAC_CUDA_DRIVER='" MAMBAC_FAKE_CUDA "' MAMBAC_NVRTC='" MAMBAC_FAKE_CUDA
                           "' MAMBAC_CUBLASLT='" MAMBAC_FAKE_CUDA "' MAMBAC_CACHE=\"$PWD/cache\"; ";
  succeed(folder, fake + train("--steps 3 --out run --device cuda --trace t.json"));
  const std::vector<Event> all = events();
  std::map<std::string, std::set<std::string>> within;  // by the step: categories of what a run of the model encloses
  for (const Event& event : all) {
    if (event.parent < 0) continue;
    const Event& run = parent_of(all, event);
    if (run.category == "run" && run.name == "mambabyte") within[parent_of(all, run).name].insert(event.category);
  }
  EXPECT_EQ(within["train step 1"], (std::set<std::string>{"kernel", "library"}));
  EXPECT_EQ(within["train step 3"], (std::set<std::string>{"launch"}));
  EXPECT_NE(first_named(all, "download"), nullptr) << "where the host waits";
  EXPECT_TRUE(std::ranges::any_of(all, [](const Event& event) { return event.category == "nvrtc"; }));
}

}  // namespace
}  // namespace mambac::test
