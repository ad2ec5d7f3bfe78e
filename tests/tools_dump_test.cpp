// `mambac dump`: every stage of every kind of graph is text that reads back, the same each time.
#include <nlohmann/json.hpp>

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
      ASSERT_GE(dump.at("stages").size(), 5u);
      EXPECT_EQ(dump.at("stages")[0].at("name"), "source");
      for (const Json& stage : dump.at("stages")) {
        if (stage.at("name") == "kernels") continue;
        const std::string printed = stage.at("text");
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
    EXPECT_FALSE(remark.at("op").get<std::string>().empty());
    EXPECT_FALSE(remark.at("text").get<std::string>().empty());
  }
  const std::string text = succeed(folder, "mambac dump mambabyte:tiny --graph train --remarks");
  EXPECT_NE(text.find("# mamba.mb:"), std::string::npos);
  EXPECT_NO_THROW(parse_graph(text, "with-remarks.mb"));
}

TEST(Dump, WritesNumberedFiles) {
  const TemporaryFolder folder;
  const std::string listed = succeed(folder, "mambac dump mingru:tiny --graph prefill --stage all --out stages");
  EXPECT_NE(listed.find("00-source.mb"), std::string::npos);
  EXPECT_NE(contents(folder / "stages" / "00-source.mb").find("scan<L>"), std::string::npos);
  EXPECT_NE(listed.find("-kernels.txt"), std::string::npos);
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

TEST(Dump, ListsItsStages) {
  const TemporaryFolder folder;
  const std::string stages = succeed(folder, "mambac dump --list-stages");
  for (const char* stage : {"source", "simplify", "differentiate", "precision", "fuse", "kernels", "asm"})
    EXPECT_NE(stages.find(stage), std::string::npos) << stage;
}

}  // namespace
}  // namespace mambac::test
