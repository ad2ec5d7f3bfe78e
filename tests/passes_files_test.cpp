// Passes by example: each file in tests/passes has a graph, the passes that it goes through, and what becomes of it.
//
//   # passes: simplify,fuse              what `mambac opt --passes` takes
//   # options: graph=train dtype=bf16    what `mambac opt --options` takes; may be absent
//   ... the text of a graph ...
//   # becomes:
//   # ... the text of the result, each line behind "# ", and the remarks ...
//
// MAMBAC_WRITE_EXPECTATIONS=1 writes what became of them into the files.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "frontend/model.h"
#include "ir/print.h"
#include "passes/pipeline_text.h"

namespace mambac {
namespace {

namespace fs = std::filesystem;

struct Example {
  std::vector<std::string> passes;
  PipelineOptions options;
  std::string graph, becomes;
};

/// What stands behind `key`, when the line begins with it.
std::optional<std::string> behind(const std::string& line, const std::string& key) {
  return line.starts_with(key) ? std::optional(line.substr(key.size())) : std::nullopt;
}

constexpr const char* kBecomes = "# becomes:";

Example read_example(const fs::path& file) {
  Example example;
  std::ifstream in(file);
  bool result = false;
  for (std::string line; std::getline(in, line);) {
    if (line == kBecomes) {
      result = true;
    } else if (result) {
      example.becomes += line.substr(std::min<size_t>(line.size(), 2)) + "\n";
    } else if (const auto passes = behind(line, "# passes: ")) {
      std::stringstream names(*passes);
      for (std::string name; std::getline(names, name, ',');) example.passes.push_back(name);
    } else if (const auto options = behind(line, "# options: ")) {
      set_options(example.options, *options);
    } else {
      example.graph += line + "\n";
    }
  }
  return example;
}

/// The text of the result without places, which an example has none of.
std::string result_of(const Example& example, const std::string& name) {
  const PipelineResult result =
      run_stages(parse_graph(example.graph, name), example.options, stages_named(example.passes));
  std::string text;
  std::stringstream lines(print(result.graph));
  for (std::string line; std::getline(lines, line);) text += line.substr(0, line.find("  @ ")) + "\n";
  for (const Remark& remark : result.remarks)
    text += fmt::format("{} ({}): {} [{}: {}]\n", remark.node, name_of(remark.op), remark.text,
                        info(remark.outcome).name, info(remark.code).name);
  return text;
}

void write_expectation(const fs::path& file, const std::string& result) {
  std::ifstream in(file);
  std::string text;
  for (std::string line; std::getline(in, line) && line != kBecomes;) text += line + "\n";
  text += std::string(kBecomes) + "\n";
  std::stringstream lines(result);
  for (std::string line; std::getline(lines, line);) text += "# " + line + "\n";
  std::ofstream(file) << text;
}

TEST(PassesByExample, BecomeWhatTheFilesSay) {
  int examples = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(MAMBAC_PASSES_EXAMPLES)) {
    const Example example = read_example(entry.path());
    const std::string result = result_of(example, entry.path().filename().string());
    if (std::getenv("MAMBAC_WRITE_EXPECTATIONS")) write_expectation(entry.path(), result);
    else EXPECT_EQ(result, example.becomes) << entry.path();
    ++examples;
  }
  EXPECT_GE(examples, 6);
}

}  // namespace
}  // namespace mambac
