// `mambac explain`: it says of each kernel what the dump, the costs and fusion say, and nothing else.
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "tests/cuda_support.h"
#include "tests/nvrtc_support.h"
#include "tests/tools_support.h"

namespace mambac::test {
namespace {

using Json = nlohmann::json;

/// With the fake library, a cache of the test's own and no disassembler.
const std::string kFake = "export MAMBAC_NVRTC='" MAMBAC_FAKE_CUDA "' MAMBAC_CACHE=cache MAMBAC_NVDISASM=none; ";

Json explain(const TemporaryFolder& folder, const std::string& arguments) {
  return Json::parse(succeed(folder, "mambac explain " + arguments + " --json")).at("kernels");
}

/// Of a dumped graph, by kernel: "name file:line" of each node.
std::map<int, std::multiset<std::string>> nodes_by_kernel(const std::string& dump) {
  const std::regex node(R"rx(^  ([^:]+): .*  in k(\d+)(?:  @ "([^"]+)":(\d+):\d+)?$)rx");
  std::map<int, std::multiset<std::string>> nodes;
  std::stringstream lines(dump);
  std::smatch found;
  for (std::string line; std::getline(lines, line);)
    if (std::regex_match(line, found, node))
      nodes[std::stoi(found[2])].insert(found[1].str() + " " + found[3].str() + ":" + found[4].str());
  return nodes;
}

TEST(Explain, EveryNodeOfAKernelHasTheLineThatTheDumpSays) {
  const TemporaryFolder folder;
  for (const std::string graph : {"train", "prefill", "step", "eval"}) {
    const std::string arguments = "mambabyte:tiny --dtype bf16 --graph " + graph;
    const auto nodes = nodes_by_kernel(succeed(folder, "mambac dump " + arguments));
    const Json kernels = explain(folder, arguments);
    ASSERT_EQ(kernels.size(), nodes.size()) << graph;
    for (const Json& kernel : kernels) {
      std::multiset<std::string> explained;
      for (const Json& line : kernel.at("lines")) {
        const std::string file = line.at("file"),
                          number = file.empty() ? "" : std::to_string(line.at("line").get<int>());
        EXPECT_EQ(file.empty(), line.at("text").get<std::string>().empty()) << line;
        for (const Json& op : line.at("ops"))
          explained.insert(op.at("node").get<std::string>() + " " + file + ":" + number);
      }
      EXPECT_EQ(explained, nodes.at(kernel.at("number"))) << graph << " " << kernel.at("name");
    }
  }
}

TEST(Explain, WorkIsThatOfTheCosts) {
  const TemporaryFolder folder;
  const std::string arguments = "mambabyte:tiny --graph train --set B=2 L=64";
  const Json kernels = explain(folder, arguments);
  const Json costs = Json::parse(succeed(folder, "mambac cost " + arguments + " --json")).at("kernels");
  ASSERT_EQ(kernels.size(), costs.size());
  for (size_t i = 0; i < costs.size(); ++i)
    for (const char* key : {"name", "flops", "exponentials", "bytes_read", "bytes_written"})
      EXPECT_EQ(kernels[i].at(key), costs[i].at(key)) << kernels[i].at("name");
}

constexpr const char* kBothWays = R"(free B, L
model both<D = 8>(x: [B, L, D]) {
  first = scan<L>(0.5, x)

  y = tanh(first)   # a comment
  return y, z = scan<L, reverse>(0.5, y)
})";

TEST(Explain, LinesAreThoseOfTheFileAndTheReasonIsThatOfFusion) {
  const TemporaryFolder folder;
  folder.write("both.mb", kBothWays);
  const Json forward = explain(folder, "both.mb k0 --graph prefill")[0];
  EXPECT_EQ(forward.at("loops"), "walk<L> lane<D> outer<B>");
  ASSERT_EQ(forward.at("lines").size(), 2u) << forward;
  EXPECT_EQ(forward["lines"][0]["line"], 3);
  EXPECT_EQ(forward["lines"][0]["text"], "first = scan<L>(0.5, x)");
  EXPECT_EQ(forward["lines"][1]["line"], 5);
  EXPECT_EQ(forward["lines"][1]["text"], "y = tanh(first)   # a comment");
  EXPECT_EQ(forward["lines"][1]["ops"][0]["text"], "y: f32[B, L, D] = tanh(first)");
  EXPECT_TRUE(forward.at("reads_from").empty());
  ASSERT_EQ(forward.at("read_by").size(), 1u);
  const Json& reader = forward["read_by"][0];
  EXPECT_EQ(reader.at("values"), Json::array({"y"}));
  EXPECT_EQ(reader.at("code"), "other-direction");
  EXPECT_EQ(reader.at("text"), "z walks the other way");
  EXPECT_FALSE(reader.at("to_fuse").get<std::string>().empty());
  const Json back = explain(folder, "both.mb k1_rwalk --graph prefill")[0];
  ASSERT_EQ(back.at("remarks").size(), 1u);
  EXPECT_EQ(back["remarks"][0]["code"], "other-direction");
  EXPECT_EQ(back["remarks"][0]["line"], 6);
}

/// What one kernel says of another, the other says of it.
TEST(Explain, NeighboursAgree) {
  const TemporaryFolder folder;
  for (const std::string graph : {"train", "step --device cuda"}) {
    const std::string options = " --set layers=1 --graph " + graph;
    const size_t count = explain(folder, "mambabyte:tiny" + options).size();
    std::map<std::pair<int, int>, Json> reads, readers;
    for (size_t k = 0; k < count; ++k) {
      const Json one = explain(folder, "mambabyte:tiny k" + std::to_string(k) + options)[0];
      const int number = one.at("number");
      const auto note = [](const Json& other) {
        return Json::array({other.at("values"), other.at("code"), other.at("text")});
      };
      for (const Json& other : one.at("reads_from")) reads[{other.at("number"), number}] = note(other);
      for (const Json& other : one.at("read_by")) readers[{number, other.at("number")}] = note(other);
    }
    EXPECT_EQ(reads, readers);
    EXPECT_GE(reads.size(), count - 1);
    for (const auto& [kernels, pair] : reads) {
      EXPECT_LT(kernels.first, kernels.second);
      EXPECT_FALSE(pair[0].empty()) << kernels.first << " " << kernels.second << " " << pair;
    }
  }
}

TEST(Explain, SaysWhereEachAxisOfAScheduleComesFrom) {
  const TemporaryFolder folder;
  folder.write("both.mb", kBothWays);
  const Json usual = explain(folder, "both.mb k0 --graph prefill")[0].at("schedule");
  const Json asked = explain(folder, "both.mb k0 --graph prefill --schedule k0:tile=16,unroll=4")[0].at("schedule");
  ASSERT_EQ(usual.size(), asked.size());
  EXPECT_GT(usual.size(), 20u);
  for (const auto& [name, axis] : usual.items()) {
    EXPECT_EQ(axis.at("source"), "heuristic");
    if (name == "tile" || name == "unroll") continue;
    EXPECT_EQ(asked.at(name), axis) << name;
  }
  EXPECT_EQ(asked.at("tile"), (Json{{"value", 16}, {"source", "--schedule"}}));
  EXPECT_EQ(asked.at("unroll"), (Json{{"value", 4}, {"source", "--schedule"}}));
}

TEST(Explain, SaysWhichAlgorithmsALibraryHas) {
  const TemporaryFolder folder;
  const std::string arguments = "mambabyte:tiny dot --graph prefill ";
  const Json usual = explain(folder, arguments), asked = explain(folder, arguments + "--schedule dot:algorithm=1");
  ASSERT_GT(usual.size(), 1u);
  ASSERT_EQ(usual.size(), asked.size());
  for (size_t i = 0; i < usual.size(); ++i) {
    EXPECT_EQ(usual[i].at("kind"), "library");
    EXPECT_EQ(usual[i].at("schedule"), (Json{{"algorithm", {{"value", 0}, {"source", "heuristic"}}}}));
    EXPECT_EQ(asked[i].at("schedule"), (Json{{"algorithm", {{"value", 1}, {"source", "--schedule"}}}}));
    EXPECT_GT(usual[i].at("algorithms").size(), 1u);
    EXPECT_EQ(usual[i].at("algorithms"), asked[i].at("algorithms"));
  }
  const std::string text = succeed(folder, "mambac explain " + arguments + "--schedule dot:algorithm=1");
  EXPECT_NE(text.find("schedule\n  --schedule: algorithm=1\n  algorithm 0: "), std::string::npos) << text;
  for (const Json& one : explain(folder, arguments + "--device cuda")) EXPECT_TRUE(one.at("algorithms").empty());
  for (const Json& one : explain(folder, "mambabyte:tiny gather --graph prefill"))
    EXPECT_TRUE(one.at("schedule").empty());
}

/// This machine is measured when all sizes are given, and then one resource bounds the kernel.
TEST(Explain, SharesOfTheRoofline) {
  const TemporaryFolder folder;
  folder.write("both.mb", kBothWays);
  EXPECT_TRUE(explain(folder, "both.mb k0 --graph prefill --set B=1")[0].at("rooflines").empty());
  const std::string measured = "OMP_NUM_THREADS=1 mambac explain both.mb k0 --graph prefill --set B=2 L=64 --json";
  const Json rooflines = Json::parse(succeed(folder, measured)).at("kernels")[0].at("rooflines");
  ASSERT_EQ(rooflines.size(), 1u);
  const Json& resources = rooflines[0].at("resources");
  EXPECT_EQ(resources.size(), 3u) << resources;
  EXPECT_EQ(resources.at(rooflines[0].at("bound")).at("share"), 1);
  for (const auto& [name, resource] : resources.items()) {
    EXPECT_GT(resource.at("seconds"), 0) << name;
    EXPECT_LE(resource.at("seconds"), rooflines[0].at("seconds_at_least")) << name;
    EXPECT_LE(resource.at("share"), 1) << name;
  }
}

/// The fake assembler says 32 registers: of 32 threads, 32 blocks are all that a multiprocessor of sm_90 can have.
TEST(Explain, MachineCodeOfAGpu) {
  const TemporaryFolder folder;
  folder.write("both.mb", kBothWays);
  const std::string command =
      kFake + "mambac explain both.mb k0 --graph prefill --set B=2 L=64 --device cuda:sm_90 --gpu h200";
  const Json kernel = Json::parse(succeed(folder, command + " --json")).at("kernels")[0];
  const Json& code = kernel.at("machine_code");
  EXPECT_EQ(code.at("architecture"), "sm_90");
  EXPECT_EQ(code.at("counted_in"), "PTX");
  EXPECT_GT(code.at("issue_slots"), 0);
  ASSERT_FALSE(code.at("stages").empty());
  const Json& stage = code["stages"][0];
  EXPECT_EQ(stage.at("blocks"), 2);
  EXPECT_EQ(stage.at("threads"), 32);
  EXPECT_EQ(stage.at("registers"), 32);
  EXPECT_EQ(stage.at("spill_store_bytes"), 8);
  EXPECT_EQ(stage.at("occupancy"), (Json{{"blocks", 32}, {"share", 0.5}, {"bound", "blocks"}}));
  ASSERT_EQ(kernel.at("rooflines").size(), 1u);
  EXPECT_EQ(kernel["rooflines"][0]["machine"], "H200 SXM 141 GB");
  const std::string text = succeed(folder, command);
  EXPECT_TRUE(
      says(text, "machine code for sm_90", "a multiprocessor holds 32 blocks: 50% of its warps, bound by blocks"))
      << text;
}

TEST(Explain, ListsCodeAsTheDumpDoes) {
  const TemporaryFolder folder;
  const std::string text = succeed(folder, "mambac explain mambabyte:tiny k5 --graph prefill --code");
  for (const std::string form : {"kernels", "llvm", "asm"}) {
    const std::string dumped =
        succeed(folder, "mambac dump mambabyte:tiny --graph prefill --labels --kernel k5 --stage " + form);
    EXPECT_NE(text.find(form + "\n" + dumped.substr(0, dumped.size() - 1)), std::string::npos) << form;
  }
  const auto json = nlohmann::json::parse(
      succeed(folder, "mambac explain mambabyte:tiny k5 --graph prefill --device cuda --code --json"));
  const nlohmann::json& code = json["kernels"][0]["code"];
  ASSERT_EQ(code.size(), 2u);
  EXPECT_EQ(code[1]["form"], "cuda");
  EXPECT_TRUE(std::ranges::any_of(code[1]["lines"], [](const auto& line) {
    return line.contains("label") && line["label"].template get<std::string>().starts_with("mamba.mb:");
  }));
}

TEST(Explain, ListsMachineCodeOfAGpuWithItsLines) {
  if (const std::string reason = without_nvrtc(); !reason.empty()) GTEST_SKIP() << reason;
  const TemporaryFolder folder;
  for (const std::string disassembler : {"", "MAMBAC_NVDISASM=none "}) {
    const auto json = nlohmann::json::parse(
        succeed(folder, "MAMBAC_CACHE=cache " + disassembler +
                            "mambac explain mambabyte:tiny k5 --graph prefill --device cuda:sm_90 --set B=1 L=64 "
                            "--code --json"));
    const nlohmann::json& kernel = json["kernels"][0];
    ASSERT_EQ(kernel["code"].size(), 3u);
    const bool sass = kernel["machine_code"]["counted_in"] == "SASS";
    EXPECT_FALSE(sass && !disassembler.empty());
    EXPECT_EQ(kernel["code"][2]["form"], sass ? "sass" : "ptx");
    const nlohmann::json& lines = kernel["code"][2]["lines"];
    const auto labelled = std::ranges::count_if(lines, [](const auto& line) {
      return line.contains("label") && line["label"].template get<std::string>().starts_with("mamba.mb:");
    });
    EXPECT_GT(labelled, static_cast<std::ptrdiff_t>(lines.size() / 2)) << kernel["code"][2]["form"];
    EXPECT_TRUE(std::ranges::any_of(lines, [&](const auto& line) {
      return line.contains("label") && line["label"].template get<std::string>().ends_with(" h") &&
             line["text"].template get<std::string>().find(sass ? "FFMA" : "fma.rn") != std::string::npos;
    })) << "the scan's multiply-add is the model's";
  }
}

TEST(Explain, TheSameBytesEachTime) {
  const TemporaryFolder folder;
  for (const std::string command : {"mambac explain mambabyte:tiny", "mambac explain mambabyte:tiny mamba_bwd --json",
                                    "mambac explain mambabyte:tiny mamba_bwd"}) {
    const std::string text = succeed(folder, command);
    EXPECT_TRUE(text == succeed(folder, command)) << command;
    EXPECT_NE(text.find("mamba.mb"), std::string::npos) << text;
  }
}

TEST(Explain, Mistakes) {
  const TemporaryFolder folder;
  const auto fail = [&](const std::string& arguments, int code, const std::string& said) {
    const Outcome outcome = shell(folder, kFake + "mambac explain mambabyte:tiny " + arguments);
    EXPECT_EQ(outcome.code, code) << arguments << "\n" << outcome.error;
    EXPECT_NE(outcome.error.find(said), std::string::npos) << arguments << "\n" << outcome.error;
    EXPECT_TRUE(outcome.out.empty()) << outcome.out;
  };
  fail("k99", 1, "there is no kernel 'k99'; there are k0 to k");
  fail("k0 --device gpu", 1, "--device: found 'gpu', expected an architecture such as cuda:sm_90");
  fail("k0 --device cuda --gpu h200", 1, "found 'cuda', expected an architecture");
  fail("k0 --device cpu --gpu h200", 1, "--gpu: found --device cpu");
  fail("k0 --device cuda:sm_90 --gpu h300", 1, "h100 or h200");
  fail("k3 --graph prefill --schedule k3:tile=3000000", 1, "--schedule: kernel mamba_fwd_convolve");
  fail("k0 --schedule k1:tile=8", 1, "--schedule: no kernel has 'k1'");
  fail("--schedule k1:tile=8", 1, "--schedule: found no KERNEL");
  fail("k0 --graph back", 1, "found 'back', expected train, prefill, step or eval");
  const Outcome none = shell(folder, "export MAMBAC_NVRTC=/no; mambac explain mambabyte:tiny k0 --device cuda:sm_90");
  EXPECT_EQ(none.code, 3) << none.error;
}

}  // namespace
}  // namespace mambac::test
