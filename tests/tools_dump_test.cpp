// `mambac dump`: every stage of every kind of graph is text that reads back, the same each time.
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "frontend/model.h"
#include "ir/print.h"
#include "tests/tools_support.h"

namespace mambac::test {
namespace {

using Json = nlohmann::json;

TEST(Dump, EveryStageReadsBack) {
  const TemporaryFolder folder;
  for (const std::string model : {"mambabyte:tiny", "mingru:tiny", "rg-lru:tiny", "s5-diagonal:tiny"}) {
    for (const std::string graph : {"train", "prefill", "step", "eval"}) {
      const std::string command = "mambac dump " + model + " --graph " + graph + " --stage all --json --remarks";
      const std::string text = succeed(folder, command);
      EXPECT_EQ(text, succeed(folder, command));
      const Json dump = Json::parse(text);
      ASSERT_GE(dump.at("stages").size(), 3u);
      EXPECT_EQ(dump.at("stages")[0].at("name"), "source");
      EXPECT_EQ(dump.at("stages").back().at("name"), "kernels");
      std::string before;
      for (const Json& stage : dump.at("stages")) {
        if (stage.at("name") == "kernels") continue;
        const std::string printed = stage.at("text");
        EXPECT_NE(printed, before) << model << " " << graph << " " << stage.at("name");
        before = printed;
        EXPECT_EQ(print(parse_graph(printed, "dump.mb")), printed) << model << " " << graph << " " << stage.at("name");
      }
    }
  }
}

TEST(Dump, RemarksNameOpAndLine) {
  const TemporaryFolder folder;
  const Json dump = Json::parse(succeed(folder, "mambac dump mambabyte:tiny --graph train --remarks --json"));
  ASSERT_FALSE(dump.at("remarks").empty());
  for (const Json& remark : dump.at("remarks")) {
    for (const char* key : {"op", "node", "text", "code", "outcome", "to_fuse"})
      EXPECT_FALSE(remark.at(key).get<std::string>().empty()) << remark;
    const std::string file = remark.at("file"), line = std::to_string(remark.at("line").get<int>());
    EXPECT_TRUE(remark.at("location").get<std::string>().starts_with(file + ":" + line + ":")) << remark;
    EXPECT_TRUE(file == "mamba.mb" || file == "mambabyte.mb" || file == "prelude.mb") << remark;
  }
  const std::string text = succeed(folder, "mambac dump mambabyte:tiny --graph train --remarks");
  const std::regex line(R"(\n# mamba\.mb:\d+:\d+: [\w.]+ \([a-z_]+\): .+ \[stopped: [a-z-]+\]\n#   to fuse: .+\n)");
  EXPECT_TRUE(std::regex_search(text, line)) << text;
  EXPECT_NO_THROW(parse_graph(text, "with-remarks.mb"));
}

/// A stage has one number, its place in --list-stages, whichever stages are written; those without an effect are not.
TEST(Dump, WritesNumberedFiles) {
  const TemporaryFolder folder;
  folder.write("m.mb", "free B, L\nmodel m<E = 4>(x: [B, L, E]) { return y = scan<L>(0.5, x) }");
  const Json stages = Json::parse(succeed(folder, "mambac dump --list-stages --json"));
  const auto path = [&](const std::string& stage, const std::string& extension) {
    size_t number = 0;
    while (number < stages.size() && stages[number].at("name") != stage) ++number;
    return (number < 10 ? "out/0" : "out/") + std::to_string(number) + "-" + stage + extension;
  };
  const auto dump = [&](const std::string& stage) {
    return succeed(folder, "mambac dump m.mb --graph prefill --out out --stage " + stage);
  };
  EXPECT_EQ(path("source", ".mb"), "out/00-source.mb");
  EXPECT_EQ(dump("all"), path("source", ".mb") + "\n" + path("state", ".mb") + "\n" + path("fuse", ".mb") + "\n" +
                             path("kernels", ".txt") + "\n");
  EXPECT_NE(contents(folder / path("source", ".mb")).find("scan<L>"), std::string::npos);
  EXPECT_EQ(dump("stores"), path("stores", ".mb") + "\n");  // it changes nothing, and was asked for
  const auto graph = [&](const std::string& stage) {
    const std::string text = contents(folder / path(stage, ".mb"));
    EXPECT_TRUE(text.starts_with("# mambac after " + stage + ": graph=prefill dtype=f32")) << text;
    return text.substr(text.find('\n'));
  };
  EXPECT_EQ(graph("stores"), graph("fuse"));
  EXPECT_EQ(dump("cuda"), path("cuda", ".cu") + "\n");
}

TEST(Dump, StopsAfterAPass) {
  const TemporaryFolder folder;
  const std::string dump = "mambac dump mambabyte:tiny --graph train --stage all ";
  const std::string all = succeed(folder, dump + "--out all");
  const std::string some = succeed(folder, dump + "--out some --stop-after clean");
  EXPECT_TRUE(some.ends_with("/06-clean.mb\n")) << some;
  std::stringstream files(some);
  for (std::string file; std::getline(files, file);)
    EXPECT_TRUE(contents(folder / file) == contents(folder / ("all" + file.substr(file.find('/'))))) << file;
  EXPECT_GT(all.size(), some.size());
  const Outcome none = shell(folder, dump + "--stop-after step");
  EXPECT_EQ(none.code, 1);
  EXPECT_NE(none.error.find("--stop-after: found 'step', expected one of: source, simplify, differentiate"),
            std::string::npos)
      << none.error;
  EXPECT_EQ(shell(folder, "mambac dump mambabyte:tiny --stage kernels --stop-after clean").code, 1);
}

TEST(Dump, GoesOnFromAnyFile) {
  const TemporaryFolder folder;
  const std::string written = succeed(folder, "mambac dump mambabyte:tiny --dtype bf16 --device cuda --stage all --out all");
  const std::string kernels = contents(folder / "all/12-kernels.txt");
  std::stringstream files(written);
  int graphs = 0;
  for (std::string file; std::getline(files, file);) {
    if (!file.ends_with(".mb")) continue;
    ++graphs;
    EXPECT_TRUE(succeed(folder, "mambac dump --start-at " + file + " --device cuda --stage kernels") == kernels) << file;
  }
  EXPECT_GE(graphs, 7);
}

TEST(Dump, GoesOnFromWhatWasChanged) {
  const TemporaryFolder folder;
  folder.write("m.mb", "free B, L\nmodel m<E = 4>(x: [B, L, E]) { return y = scan<L>(0.5, exp(x)) }");
  succeed(folder, "mambac dump m.mb --graph prefill --stage simplify --out out && sed -i s/exp/tanh/g out/01-simplify.mb");
  const std::string text = succeed(folder, "mambac dump --start-at out/01-simplify.mb");
  EXPECT_NE(text.find("tanh("), std::string::npos) << text;
  EXPECT_EQ(text.find("exp("), std::string::npos) << text;
}

/// By number, by the name in the graph or its first words, by the printed name or a part of it.
TEST(Dump, ShowsAKernelByAnyOfItsNames) {
  const TemporaryFolder folder;
  folder.write("m.mb", R"(free B, L
model m<E = 4>(x: [B, L, E]) { return y = sum<B, L>(tanh(scan<L>(0.5, x))), z = exp(scan<L, reverse>(0.5, x)) })");
  const std::string dump = "mambac dump m.mb --graph prefill --stage kernels ";
  const std::string all = succeed(folder, dump);
  const std::string first = succeed(folder, dump + "--kernel k0"), second = succeed(folder, dump + "--kernel k1");
  EXPECT_TRUE(first + second == all) << all;
  const std::string name = first.substr(0, first.find("  #")).substr(std::string("kernel ").size());
  for (const std::string& other : {name, std::string("k0_walk"), std::string("tanh")})
    EXPECT_TRUE(succeed(folder, dump + "--kernel " + other) == first) << other;
  EXPECT_TRUE(succeed(folder, dump + "--kernel scan") == all);
}

/// A step for a GPU is made of fewer kernels.
TEST(Dump, OfAGpuAndOfASchedule) {
  const TemporaryFolder folder;
  const auto dump = [&](const std::string& rest) {
    return succeed(folder, "mambac dump mambabyte:tiny --graph step --stage " + rest);
  };
  EXPECT_TRUE(dump("kernels") == dump("kernels --device cpu"));
  EXPECT_TRUE(dump("cuda --kernel k1") == dump("cuda --device cuda --kernel k1"));
  EXPECT_FALSE(dump("fuse") == dump("fuse --device cuda"));
  EXPECT_TRUE(dump("stores --device cuda").find("kernel k12") == std::string::npos);
  EXPECT_NE(dump("kernels --device cuda --kernel k1").find("width=32 "), std::string::npos);
  EXPECT_NE(dump("kernels --device cuda --kernel k1 --schedule k1:width=64").find("width=64 "), std::string::npos);
  EXPECT_NE(dump("cuda --kernel k1 --schedule mamba_fwd:width=64").find("width=64 "), std::string::npos);
  EXPECT_NE(dump("kernels --kernel k1 --schedule k1:row_unroll=2").find("row_unroll=2 "), std::string::npos);
}

TEST(Dump, ShowsLoopsAndMachineCode) {
  const TemporaryFolder folder;
  EXPECT_NE(succeed(folder, "mambac dump mingru:tiny --graph step --stage kernels --kernel k0").find("width="),
            std::string::npos);
  EXPECT_NE(succeed(folder, "mambac dump mingru:tiny --graph step --stage llvm --kernel k0").find("define"),
            std::string::npos);
  EXPECT_NE(succeed(folder, "mambac dump mingru:tiny --graph step --stage asm --kernel k0").find("ret"),
            std::string::npos);
  EXPECT_NE(succeed(folder, "mambac dump mingru:tiny --graph step --stage cuda --kernel k0").find("MB_KERNEL"),
            std::string::npos);
  EXPECT_EQ(shell(folder, "mambac dump mingru:tiny --graph step --stage asm --kernel nothing").code, 1);
}

/// The text without labels is what is printed without them.
TEST(Dump, LabelsCodeWithLinesOfTheModel) {
  const TemporaryFolder folder;
  folder.write("m.mb", R"(free B, L
model m<E = 4>(x: [B, L, E]) {
  h = scan<L>(0.5, x)
  return y = tanh(h)
})");
  for (const std::string stage : {"kernels", "llvm", "asm", "cuda"}) {
    const std::string dump = "mambac dump m.mb --graph prefill --stage " + stage;
    const std::string comment = stage == "cuda" ? "//" : stage == "llvm" ? ";" : "#";
    const std::string labelled = succeed(folder, dump + " --labels");
    EXPECT_EQ(labelled, succeed(folder, dump + " --labels"));
    const std::regex label(" *" + comment + " m\\.mb:[34] (walk of )?[a-z0-9.]+\n");
    EXPECT_TRUE(std::regex_replace(labelled, label, "\n") == succeed(folder, dump)) << labelled;
    for (const char* line : {" m.mb:3 h\n", " m.mb:3 walk of h\n", " m.mb:4 y\n"})
      EXPECT_NE(labelled.find(comment + line), std::string::npos) << stage << line << labelled;
  }
  const Outcome of_graph = shell(folder, "mambac dump m.mb --graph prefill --labels");
  EXPECT_EQ(of_graph.code, 1);
  EXPECT_NE(of_graph.error.find("--labels: the stage stores is a whole graph"), std::string::npos) << of_graph.error;
}

TEST(Dump, ListsItsStages) {
  const TemporaryFolder folder;
  const std::string stages = succeed(folder, "mambac dump --list-stages");
  for (const char* stage : {"source", "simplify", "differentiate", "precision", "fuse", "kernels", "asm"})
    EXPECT_NE(stages.find(stage), std::string::npos) << stage;
}

}  // namespace
}  // namespace mambac::test
