// `mambac report`: one page that needs nothing else, whose data agree with themselves and with the other commands.
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "tests/tools_support.h"
#include "tools/report.h"

namespace mambac::test {
namespace {

using Json = nlohmann::json;
using tools::ReportLayers;

constexpr const char* kDataBegin = R"(<script type="application/json" id="data">)";
constexpr const char* kScriptEnd = "</script>";

struct Page {
  std::string frame;  // all but the data
  Json data;
};

Page page_of(const TemporaryFolder& folder, const std::string& file) {
  const std::string text = contents(folder / file), begin_mark = kDataBegin;
  const size_t begin = text.find(begin_mark) + begin_mark.size(), end = text.find(kScriptEnd, begin);
  EXPECT_LT(end, text.size());
  return {text.substr(0, begin) + text.substr(end), Json::parse(text.substr(begin, end - begin))};
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> lines;
  std::stringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// The text after all stages, from what each changed.
std::vector<std::string> text_after(const Json& stages) {
  std::vector<std::string> lines;
  for (const Json& stage : stages) {
    std::vector<std::string> next;
    size_t at = 0;
    for (const Json& hunk : stage.at("hunks")) {
      const std::vector<std::string> added = split(hunk[3]);
      EXPECT_EQ(added.size(), hunk[2].get<size_t>());
      for (; at < hunk[0]; ++at) next.push_back(lines.at(at));
      next.insert(next.end(), added.begin(), added.end());
      at = hunk[1];
    }
    for (; at < lines.size(); ++at) next.push_back(lines[at]);
    lines = std::move(next);
  }
  return lines;
}

/// A place: a line of one of the files, or none.
void expect_place(const Json& data, int file, int line, const std::string& whose) {
  if (file < 0) {
    EXPECT_EQ(line, 0) << whose;
    return;
  }
  ASSERT_LT(static_cast<size_t>(file), data.at("files").size()) << whose;
  EXPECT_GE(line, 1) << whose;
  EXPECT_LE(static_cast<size_t>(line), split(data["files"][static_cast<size_t>(file)][1]).size()) << whose;
}

void expect_consistent(const Json& data) {
  const int kernels = static_cast<int>(data.at("kernels").size());
  const std::vector<std::string> text = text_after(data.at("stages"));
  std::set<int> with_values;
  for (const Json& node : data.at("nodes")) {
    const std::string name = node[0];
    expect_place(data, node[3], node[4], name);
    EXPECT_LT(node[2].get<int>(), kernels) << name;
    with_values.insert(node[2].get<int>());
    for (const Json& operand : node[6]) EXPECT_LT(operand, data["nodes"].size()) << name;
    if (node[5] < 0) continue;
    EXPECT_NE(text.at(node[5]).find(name + ": "), std::string::npos) << text.at(node[5]);
    if (node[2] < 0) continue;
    EXPECT_NE(text.at(node[5]).find("  in k" + std::to_string(node[2].get<int>())), std::string::npos) << name;
  }
  for (int k = 0; k < kernels; ++k) EXPECT_TRUE(with_values.contains(k)) << "k" << k;
  for (const Json& code : data.at("codes")) {
    const Json& kernel = data["kernels"].at(code.at("kernel").get<size_t>());
    for (const Json& origin : code.at("origins")) {
      expect_place(data, origin[1], origin[2], origin[0]);
      if (origin[1] < 0) continue;
      const std::string place = ":" + std::to_string(origin[2].get<int>()) + " ";
      EXPECT_NE(origin[0].get<std::string>().find(place), std::string::npos) << origin;
    }
    EXPECT_GE(code.at("forms").size(), 2u);
    for (const Json& form : code["forms"]) {
      EXPECT_EQ(split(form.at("text")).size(), form.at("origins").size()) << kernel.at("name") << form.at("form");
      size_t labelled = 0;
      for (const Json& origin : form["origins"]) {
        EXPECT_GE(origin.get<int>(), -1);
        EXPECT_LT(origin.get<int>(), static_cast<int>(code["origins"].size()));
        if (origin >= 0) ++labelled;
      }
      const size_t least = kernel.at("kind") == "walk" ? form["origins"].size() / 2 : 0;  // rows may share everything
      EXPECT_GE(labelled, least) << kernel.at("name") << form.at("form");
    }
  }
  std::set<int> used;
  for (const Json& kernel : data["kernels"]) {
    const int code = kernel.at("code");
    EXPECT_EQ(code < 0, kernel.at("kind") == "library") << kernel.at("name");
    if (code >= 0) used.insert(code);
    for (const Json& producer : kernel.at("producers")) {
      EXPECT_LT(producer[0].get<int>(), kernels);
      EXPECT_TRUE(data.at("reasons").contains(producer[2].get<std::string>())) << producer;
    }
  }
  EXPECT_EQ(used.size(), data["codes"].size());
  int end = 0;
  for (const Json& layers : data.at("layers")) {
    EXPECT_GE(layers[0].get<int>(), end);
    end = layers[0].get<int>() + layers[1].get<int>() * layers[2].get<int>();
  }
  EXPECT_LE(end, kernels);
}

/// Values that live at the same time lie apart, and all within the arena.
void expect_plan(const Json& data) {
  const int64_t arena = data.at("arena");
  const Json& memory = data.at("memory");
  EXPECT_FALSE(memory.empty());
  for (size_t i = 0; i < memory.size(); ++i) {
    const Json& a = memory[i];
    const int64_t begin = a[3], end = begin + a[2].get<int64_t>();
    EXPECT_GE(begin, 0) << a;
    EXPECT_LE(end, arena) << a;
    EXPECT_LT(a[5].get<size_t>(), data.at("kernels").size()) << a;
    for (size_t k = 0; k < i; ++k) {
      const Json& b = memory[k];
      const bool together = a[4] <= b[5] && b[4] <= a[5];
      const int64_t other = b[3];
      EXPECT_TRUE(!together || end <= other || other + b[2].get<int64_t>() <= begin) << a << b;
    }
  }
}

TEST(Report, IsOneFileThatRefersToNothing) {
  const TemporaryFolder folder;
  const std::string said = succeed(folder, "mambac report mambabyte:tiny --graph prefill --out page.html");
  EXPECT_TRUE(said.starts_with("page.html  ")) << said;
  const Page page = page_of(folder, "page.html");
  for (const std::string part : {"http:", "https:", "src=", "href=", "@import", "url(h", "url(/", "url(\"", "fetch(",
                                 "{{style", "{{script", "{{data"})
    EXPECT_EQ(page.frame.find(part), std::string::npos) << part;
  EXPECT_NE(page.frame.find("default-src 'none'"), std::string::npos);
  EXPECT_LT(std::filesystem::file_size(folder / "page.html"), 2e6);
}

TEST(Report, LinesKernelsAndCodeAgree) {
  const TemporaryFolder folder;
  for (const std::string options :
       {"--graph train", "--graph prefill --dtype bf16", "--graph step", "--graph prefill --device cuda"}) {
    succeed(folder, "mambac report mambabyte:tiny --out page.html " + options);
    const Json data = page_of(folder, "page.html").data;
    SCOPED_TRACE(options);
    expect_consistent(data);
    expect_plan(data);
  }
}

/// What is said of kernels, passes and memory elsewhere.
TEST(Report, SaysWhatOtherCommandsSay) {
  const TemporaryFolder folder;
  const std::string model = " mambabyte:tiny --graph train --set B=2 ";
  const Json data = Json::parse(succeed(folder, "mambac report --json" + model));
  const Json kernels = Json::parse(succeed(folder, "mambac explain --json" + model)).at("kernels");
  ASSERT_EQ(data.at("kernels").size(), kernels.size());
  for (size_t k = 0; k < kernels.size(); ++k) {
    const Json& one = data["kernels"][k];
    EXPECT_EQ(one.at("name"), kernels[k].at("name"));
    EXPECT_EQ(one.at("read"), kernels[k].at("bytes_read"));
    EXPECT_EQ(one.at("flops"), kernels[k].at("flops"));
    std::multiset<std::string> values, explained;
    for (const Json& node : data.at("nodes"))
      if (node[2] == k) values.insert(node[0].get<std::string>() + ":" + std::to_string(node[4].get<int>()));
    for (const Json& line : kernels[k].at("lines"))
      for (const Json& op : line.at("ops"))
        explained.insert(op.at("node").get<std::string>() + ":" + std::to_string(line.at("line").get<int>()));
    EXPECT_EQ(values, explained) << one.at("name");
  }
  std::string dumped = succeed(folder, "mambac dump mambabyte:tiny --graph train --stage stores");
  dumped.erase(0, dumped.find('\n') + 1);  // where it stands
  EXPECT_EQ(text_after(data.at("stages")), split(dumped));
  const Json cost = Json::parse(succeed(folder, "mambac cost --json mambabyte:tiny --graph train --set B=2 L=1024"));
  EXPECT_EQ(data.at("arena"), cost.at("memory").at("arena_bytes"));
  const std::string code = succeed(folder, "mambac dump mambabyte:tiny --graph train --stage asm --kernel k5");
  const Json& forms = data["codes"][data["kernels"][5]["code"].get<size_t>()].at("forms");
  EXPECT_EQ(split(code).size(), forms[2].at("origins").size() + 1);  // an empty line between kernels
}

TEST(Report, PrintsTheDataOfItsPage) {
  const TemporaryFolder folder;
  succeed(folder, "mambac report mambabyte:tiny --graph step --out page.html");
  EXPECT_EQ(page_of(folder, "page.html").data,
            Json::parse(succeed(folder, "mambac report mambabyte:tiny --graph step --json")));
}

TEST(Report, IsTheSameBytesEveryTime) {
  const TemporaryFolder folder;
  succeed(folder, "mambac report mambabyte:tiny --out first.html; mambac report mambabyte:tiny --out second.html");
  EXPECT_TRUE(contents(folder / "first.html") == contents(folder / "second.html"));
}

/// Each layer costs what its values and names take, not its code again.
TEST(Report, LayersAreFoldedAndTheirCodeIsThereOnce) {
  const TemporaryFolder folder;
  std::vector<size_t> bytes, codes;
  for (const std::string layers : {"6", "12"}) {
    succeed(folder, "mambac report mambabyte:353m --set layers=" + layers + " --out page.html");
    const Json data = page_of(folder, "page.html").data;
    expect_consistent(data);
    bytes.push_back(std::filesystem::file_size(folder / "page.html"));
    codes.push_back(data.at("codes").size());
    ASSERT_EQ(data.at("layers").size(), 2u) << data.at("layers");  // forward and backward
    const int count = std::stoi(layers);
    for (const Json& one : data["layers"]) {
      EXPECT_GE(one[2].get<int>(), count - 1);
      EXPECT_LE(one[2].get<int>(), count);
    }
  }
  EXPECT_EQ(codes[0], codes[1]);
  EXPECT_LT(bytes[1], bytes[0] + 6 * 60000);
  EXPECT_LT(bytes[1] + 41 * (bytes[1] - bytes[0]) / 6, 6000000u);  // 53 layers
}

TEST(Report, RepetitionsAreTheLongestWithTheShortestPeriod) {
  using List = std::vector<ReportLayers>;
  EXPECT_EQ(tools::repetitions({}), List());
  EXPECT_EQ(tools::repetitions({1, 2, 3}), List());
  EXPECT_EQ(tools::repetitions({7, 1, 2, 1, 2, 1, 2, 8}), (List{{1, 2, 3}}));
  EXPECT_EQ(tools::repetitions({1, 1, 2, 1, 1, 2, 9, 4, 4}), (List{{0, 3, 2}, {7, 1, 2}}));
}

/// A definition may say what would end a script.
TEST(Report, WhatTheModelSaysStaysData) {
  const TemporaryFolder folder;
  const std::string model =
      "# </script><script>alert(1)</script> <!-- {{data}}\nfree B, L\n"
      "model m<D = 8>(x: [B, L, D]) { return y = scan<L>(0.5, x) }\n";
  folder.write("m.mb", model);
  succeed(folder, "mambac report m.mb --graph prefill --out page.html");
  const Page page = page_of(folder, "page.html");
  EXPECT_EQ(page.data.at("files")[0][1], model);
  EXPECT_EQ(page.frame.find("alert(1)"), std::string::npos);
}

TEST(Report, TimesComeFromTheTraceOfTheSameGraph) {
  const TemporaryFolder folder;
  folder.write("text", learnable_text(20000));
  succeed(folder,
          "mambac train mambabyte:tiny --data text --batch 2 --context 32 --steps 3 --out run --trace trace.json");
  const std::string report = "mambac report mambabyte:tiny --json --trace trace.json ";
  const Json data = Json::parse(succeed(folder, report + "--set B=2"));
  const Json& trace = data.at("trace");
  EXPECT_EQ(trace.at("runs").size(), 3u);
  ASSERT_EQ(trace.at("median").size(), data.at("kernels").size());
  ASSERT_EQ(trace.at("last").size(), data["kernels"].size());
  const int64_t whole = trace["runs"][2][1];
  int64_t at = 0;
  for (size_t k = 0; k < trace["last"].size(); ++k) {
    EXPECT_EQ(trace["last"][k][0], k);
    EXPECT_GE(trace["last"][k][1], at);
    at = trace["last"][k][1].get<int64_t>() + trace["last"][k][2].get<int64_t>();
    EXPECT_GT(trace["median"][k], 0);
  }
  EXPECT_LE(at, whole + 1);
  const Outcome other = shell(folder, report + "--set layers=1");
  EXPECT_EQ(other.code, 1);
  EXPECT_NE(other.error.find("'trace.json' has no run of all kernels of mambabyte"), std::string::npos) << other.error;
}

TEST(Report, MistakesAreNamedAndLeaveTheFileAlone) {
  const TemporaryFolder folder;
  folder.write("page.html", "as it was");
  folder.write("deep.json", std::string(200000, '['));
  folder.write("broken.json", "{\"traceEvents\": [");
  folder.write("other.json", "{\"events\": []}");
  folder.write("strange.json", R"({"traceEvents": [{"ph": "X", "ts": "soon"}]})");
  const std::vector<std::tuple<std::string, int, std::string>> mistakes = {
      {"mambabyte:tiny", 2, "--out is required"},
      {"--out page.html", 2, "MODEL is required"},
      {"mambabyte:tiny --graph all --out page.html", 1, "found 'all'"},
      {"nothing.mb --out page.html", 1, "nothing.mb"},
      {"mambabyte:tiny --gpu h100 --device cpu --out page.html", 1, "--gpu: found --device cpu"},
      {"mambabyte:tiny --trace none.json --out page.html", 1, "none.json"},
      {"mambabyte:tiny --trace broken.json --out page.html", 1, "'broken.json' is no JSON"},
      {"mambabyte:tiny --trace deep.json --out page.html", 1, "'deep.json' is damaged"},
      {"mambabyte:tiny --trace other.json --out page.html", 1, "'other.json' has no list traceEvents"},
      {"mambabyte:tiny --trace strange.json --out page.html", 1, "an event without thread, time"},
      {"mambabyte:tiny --schedule k5:tile=0 --out page.html", 1, "tile"},
      {"mambabyte:tiny --out nowhere/page.html", 3, "nowhere/page.html"}};
  for (const auto& [arguments, code, message] : mistakes) {
    const Outcome outcome = shell(folder, "mambac report " + arguments);
    EXPECT_EQ(outcome.code, code) << arguments << outcome.error;
    EXPECT_NE(outcome.error.find(message), std::string::npos) << arguments << "\n" << outcome.error;
    EXPECT_EQ(outcome.out, "") << arguments;
  }
  EXPECT_EQ(contents(folder / "page.html"), "as it was");
}

/// The functions of the page that need no browser, on the data of a page.
TEST(Report, TheScriptFindsWhatBelongsTogether) {
  const TemporaryFolder folder;
  if (shell(folder, "command -v node").code != 0)
    GTEST_SKIP() << "node is not installed, which runs the page's scripts";
  succeed(folder, "mambac report mambabyte:353m --set layers=6 --json >data.json");
  const Outcome outcome = shell(folder, "node '" MAMBAC_REPORT_TEST "' '" MAMBAC_REPORT_SCRIPTS "' data.json");
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(outcome.out, "good\n");
}

}  // namespace
}  // namespace mambac::test
