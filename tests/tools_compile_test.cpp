// 'compile' and 'cost --device' as a user runs them, with a library that answers like NVRTC.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/cuda_support.h"
#include "tests/tools_support.h"

namespace mambac::test {
namespace {

using Json = nlohmann::json;

/// With the fake library, a cache of the test's own and no disassembler.
const std::string kFake = "export MAMBAC_NVRTC='" MAMBAC_FAKE_CUDA "' MAMBAC_CACHE=cache MAMBAC_NVDISASM=none; ";
const std::string kCompile = kFake + "mambac compile mambabyte:tiny --device cuda:sm_90 --out kernels ";

TEST(Compile, WritesSourcesCodeAndIndex) {
  const TemporaryFolder folder;
  succeed(folder, kCompile);
  const Json index = Json::parse(contents(folder / "kernels/index.json"));
  EXPECT_EQ(index["architecture"], "sm_90");
  EXPECT_EQ(index["nvrtc"], "13.0");
  ASSERT_GT(index["kernels"].size(), 10u);
  std::set<std::string> files{"index.json"};
  for (const Json& kernel : index["kernels"]) {
    const std::string source = contents(folder / "kernels" / kernel["source"].get<std::string>());
    EXPECT_EQ(contents(folder / "kernels" / kernel["cubin"].get<std::string>()), "FAKECUBIN sm_90\n" + source);
    EXPECT_TRUE(says(source, "// " + kernel["schedule"].get<std::string>()));
    for (const Json& stage : kernel["stages"]) {
      EXPECT_TRUE(says(source, " " + stage["symbol"].get<std::string>() + "(\n"));
      EXPECT_EQ(stage["registers"], 32);
      EXPECT_EQ(stage["spill_store_bytes"], 8);
      EXPECT_EQ(stage["local_bytes"], 16);
      EXPECT_GE(stage["threads"], 32);
    }
    EXPECT_TRUE(files.insert(kernel["source"]).second) << kernel["source"];
    EXPECT_TRUE(files.insert(kernel["cubin"]).second);
  }
  std::set<std::string> there;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "kernels"))
    there.insert(entry.path().filename().string());
  EXPECT_EQ(there, files);
}

TEST(Compile, OnceAndThenFromTheCache) {
  const TemporaryFolder folder;
  const Json first = Json::parse(succeed(folder, kCompile + "--graph train --json"));
  EXPECT_EQ(first["from_cache"], 0);
  const Json again = Json::parse(succeed(folder, kCompile + "--graph train --json"));
  EXPECT_EQ(again["from_cache"], again["kernels"].size());
  const std::string text = succeed(folder, kCompile + "--graph train");
  EXPECT_TRUE(says(text, std::to_string(first["kernels"].size()) + " spill registers")) << text;
  EXPECT_TRUE(says(text, "for sm_90 by NVRTC 13.0", "from the cache; in kernels")) << text;
  EXPECT_TRUE(says(shell(folder, kCompile + "--graph train").error, "100%")) << "progress goes to standard error";
}

/// Two layers that do the same share their kernels, and are launched as often as there are layers.
TEST(Compile, EqualLayersShareKernels) {
  const TemporaryFolder folder;
  const auto kernels = [&](const std::string& settings) {
    return Json::parse(succeed(folder, kCompile + "--graph prefill --json --set layers=" + settings))["kernels"];
  };
  const Json four = kernels("4"), six = kernels("6");
  EXPECT_EQ(four.size(), six.size());
  int more = 0;
  for (size_t i = 0; i < four.size(); ++i) {
    EXPECT_EQ(four[i]["name"], six[i]["name"]);
    const int by = six[i]["launches"]["prefill"].get<int>() - four[i]["launches"]["prefill"].get<int>();
    EXPECT_TRUE(by == 0 || by == 2 || by == 4) << six[i];
    more += by > 0;
  }
  EXPECT_GT(more, 1);
}

/// What a definition cannot be is left out of all graphs, with a word; asked for by name it is a mistake.
TEST(Compile, LeavesOutTheStepOfAScanFromTheEnd) {
  const TemporaryFolder folder;
  folder.write("m.mb", "free B, L\nmodel m<E = 4>(x: [B, L, E]) {\n  return y = scan<L, reverse>(0.5, x)\n}");
  const std::string command = kFake + "mambac compile m.mb --device cuda:sm_90 --out kernels ";
  const Outcome all = shell(folder, command);
  EXPECT_EQ(all.code, 0) << all.error;
  EXPECT_TRUE(says(all.error, "the step graph is left out: m.mb:3:14: scan", "it runs from the end")) << all.error;
  std::set<std::string> graphs;
  const Json index = Json::parse(contents(folder / "kernels/index.json"));
  for (const Json& kernel : index["kernels"])
    for (const auto& launch : kernel["launches"].items()) graphs.insert(launch.key());
  EXPECT_EQ(graphs, (std::set<std::string>{"train", "prefill", "eval"}));
  const Outcome step = shell(folder, command + "--graph step");
  EXPECT_EQ(step.code, 1);
  EXPECT_TRUE(says(step.error, "mambac: m.mb:3:14: scan", "no step form along L")) << step.error;
}

/// Two walks have no dimension to step along, neither at once nor step by step.
TEST(Compile, LeavesOutTheStepsOfAPlane) {
  const TemporaryFolder folder;
  folder.write("m.mb", "free B, H, W\nmodel m(x: [B, H, W]) { return y = scan<H>(0.5, x) + scan<W>(0.5, x) }");
  const Outcome all = shell(folder, kFake + "mambac compile m.mb --device cuda:sm_90 --out kernels");
  EXPECT_EQ(all.code, 0) << all.error;
  EXPECT_TRUE(says(all.error, "the prefill graph is left out: m.mb:2:", "the step graph is left out: m.mb:2:"))
      << all.error;
}

struct Mistake {
  std::string name, command;
  int code;
  std::vector<std::string> said;
};

const std::vector<Mistake> kMistakes = {
    {"NoDevice", "mambac compile mambabyte:tiny --out k", 2, {"--device"}},
    {"NoFolder", "mambac compile mambabyte:tiny --device cuda:sm_90", 2, {"--out"}},
    {"DeviceOfAnotherForm", "mambac compile mambabyte:tiny --device cuda --out k", 1, {"'cuda'", "cuda:sm_90"}},
    {"UnknownArchitecture",
     "mambac compile mambabyte:tiny --device cuda:sm_91 --out k",
     1,
     {"'sm_91'", "sm_90, sm_100"}},
    {"UnknownGraph", "mambac compile mambabyte:tiny --device cuda:sm_90 --out k --graph trian", 1, {"'trian'", "all"}},
    {"NoNvrtc",
     "export MAMBAC_NVRTC=/no; mambac compile mambabyte:tiny --device cuda:sm_90 --out k",
     3,
     {"NVRTC", "/no"}},
    {"FolderThatCannotBe", "touch k; mambac compile mambabyte:tiny --device cuda:sm_90 --out k/l", 3, {"k/l"}},
    {"CostWithoutNvrtc",
     "export MAMBAC_NVRTC=/no; mambac cost mambabyte:tiny --device cuda:sm_90",
     3,
     {"NVRTC", "/no"}},
    {"CostOfAnUnknownGpu", "mambac cost mambabyte:tiny --device cuda:sm_90 --gpu h300", 1, {"h300", "h100 or h200"}},
    {"CostOfAGpuOfAnotherArchitecture",
     "mambac cost mambabyte:tiny --device cuda:sm_80 --gpu h100",
     1,
     {"h100", "sm_80"}},
    {"CostOfAGpuWithoutDevice", "mambac cost mambabyte:tiny --gpu h100", 2, {"--gpu", "--device"}},
    {"NoSuchDisassembler",
     "export MAMBAC_NVDISASM=/no; mambac cost mambabyte:tiny --device cuda:sm_90",
     3,
     {"'/no'", "no program"}},
    {"DisassemblerThatRefuses",
     "export MAMBAC_NVDISASM=/bin/false; mambac cost mambabyte:tiny --device cuda:sm_90",
     3,
     {"/bin/false", "cannot read the machine code"}},
};

class CompileMistakes : public testing::TestWithParam<Mistake> {};

TEST_P(CompileMistakes, OneMessageAndTheRightCode) {
  const TemporaryFolder folder;
  const Outcome outcome = shell(folder, kFake + GetParam().command);
  EXPECT_EQ(outcome.code, GetParam().code) << outcome.error;
  for (const std::string& part : GetParam().said) EXPECT_TRUE(says(outcome.error, part)) << outcome.error;
  EXPECT_FALSE(says(outcome.error, "internal")) << outcome.error;
}

INSTANTIATE_TEST_SUITE_P(All, CompileMistakes, testing::ValuesIn(kMistakes),
                         [](const testing::TestParamInfo<Mistake>& mistake) { return mistake.param.name; });

/// One walk of B 2, L 7, D 6, N 5: the fake PTX has two instructions for each kernel, and a task is a block of a warp.
constexpr const char* kWalk = R"(free B, L
model walk<D = 6, N = 5>(dt: [B, L, D], u: [B, L, D], a: [D, N], b: [B, L, N], c: [B, L, N]) -> [B, L, D] {
  return y = sum<N>(scan<L>(exp(dt * a), dt * b * u) * c)
})";
const std::string kCost = kFake + "mambac cost walk.mb --set B=2 L=7 --device cuda:sm_90 --json";

TEST(GpuCost, CountsInPtxWithoutADisassembler) {
  const TemporaryFolder folder;
  folder.write("walk.mb", kWalk);
  const Json cost = Json::parse(succeed(folder, kCost));
  EXPECT_EQ(cost["counted_in"], "PTX");
  ASSERT_EQ(cost["kernels"].size(), 1u);
  const Json& kernel = cost["kernels"][0];
  EXPECT_EQ(kernel["launches"], 1);
  EXPECT_EQ(kernel["issue_slots"], 2 * 32 * 2);
  EXPECT_EQ(kernel["special_function_slots"], 0);
  EXPECT_EQ(kernel["state_updates"], 2 * 7 * 6 * 5);
  EXPECT_EQ(kernel["exponentials"], 2 * 7 * 6 * 5);
  EXPECT_EQ(kernel["bytes"], 4 * (3 * 2 * 7 * 6 + 6 * 5 + 2 * 2 * 7 * 5 + /*states before and after*/ 2 * 2 * 6 * 5));
  EXPECT_TRUE(says(succeed(folder, kCost.substr(0, kCost.size() - 6)), "counted in PTX", "MAMBAC_NVDISASM"));
}

/// What the machine can do by its data sheet: 4.8 TB/s, and 16 special functions a clock on 132 multiprocessors.
TEST(GpuCost, CountsInSassWhereItCan) {
  const TemporaryFolder folder;
  folder.write("walk.mb", kWalk);
  folder.write("nvdisasm", R"(#!/bin/sh
test "$1 $2" = "-c -gi" || exit 1
awk '/^MB_KERNEL/ { name = $NF; sub(/\($/, "", name); printf ".text.%s:\n", name
  printf "\t//## File \"k.cu\", line %d\n", NR - 1
  print "/*0000*/ MUFU.EX2 R1, R1 ;\n/*0010*/ MUFU.EX2 R2, R2 ;\n/*0020*/ FADD R1, R1, R2 ;\n/*0030*/ EXIT ;" }' "$3"
)");
  const std::string cost_command =
      "chmod +x nvdisasm; " + kFake + "export MAMBAC_NVDISASM=./nvdisasm; " + kCost.substr(kFake.size());
  const Json cost = Json::parse(succeed(folder, cost_command));
  EXPECT_EQ(cost["counted_in"], "SASS");
  EXPECT_EQ(cost["disassembler"], "./nvdisasm");
  const Json& kernel = cost["kernels"][0];
  EXPECT_EQ(kernel["issue_slots"], 2 * 32 * 4);
  EXPECT_EQ(kernel["special_function_slots"], 2 * 32 * 2);
  EXPECT_NEAR(kernel["slots_per_state_update"].get<double>(), 256.0 / 420, 1e-12);
  const double bytes = kernel["bytes"];
  const Json& h200 = kernel["at_least"]["h200"];
  EXPECT_NEAR(h200["seconds"].get<double>(), bytes / 4.8e12, 1e-15);
  EXPECT_EQ(h200["bound"], "bytes");
  EXPECT_NEAR(kernel["at_least"]["h100"]["seconds"].get<double>(), bytes / 3.35e12, 1e-15);
  EXPECT_NEAR(cost["gpus"]["h200"]["seconds_at_least"].get<double>(), bytes / 4.8e12, 1e-15);
}

/// What all launches take together is the sum over kernels and launches; each takes as long as its tightest bound.
TEST(GpuCost, SumsUp) {
  const TemporaryFolder folder;
  const Json cost = Json::parse(succeed(
      folder, kFake + "mambac cost mambabyte:tiny --graph train --dtype bf16 --device cuda:sm_90 --gpu h200 --json"));
  double seconds = 0;
  int64_t bytes = 0, launches = 0;
  bool products = false;
  for (const Json& kernel : cost["kernels"]) {
    const auto count = kernel["launches"].get<int64_t>();
    launches += count;
    bytes += count * kernel["bytes"].get<int64_t>();
    seconds += static_cast<double>(count) * kernel["at_least"]["h200"]["seconds"].get<double>();
    EXPECT_FALSE(kernel["at_least"].contains("h100"));
    EXPECT_EQ(kernel["library"].get<bool>(), kernel["issue_slots"] == 0) << kernel;
    products |= kernel["name"].get<std::string>().starts_with("dot ");
  }
  EXPECT_TRUE(products);
  EXPECT_EQ(cost["launches"], launches);
  EXPECT_EQ(cost["bytes"], bytes);
  EXPECT_NEAR(cost["gpus"]["h200"]["seconds_at_least"].get<double>(), seconds, 1e-12);
}

}  // namespace
}  // namespace mambac::test
