// What the documents show is true: each fenced text that begins with `free` is compiled, the op reference is that of
// the op table, the remarks are those of theirs, and links lead somewhere.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "codegen/schedule.h"
#include "frontend/model.h"
#include "ir/op_reference.h"
#include "ir/print.h"
#include "passes/remark_reference.h"

namespace mambac {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = MAMBAC_SOURCE_DIR;

std::string text_of(const fs::path& document) {
  std::ifstream file(kSource / document);
  EXPECT_TRUE(file.good()) << document;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> definitions_in(const std::string& document) {
  std::istringstream lines(text_of(document));
  std::vector<std::string> found;
  std::string fenced;
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("```", 0) == 0) {
      if (inside && fenced.rfind("free ", 0) == 0) found.push_back(fenced);
      inside = !inside;
      fenced.clear();
    } else if (inside) {
      fenced += line + "\n";
    }
  }
  return found;
}

TEST(Documentation, TheMixerOfTheReadme) {
  auto definitions = definitions_in("README.md");
  ASSERT_EQ(definitions.size(), 1u);
  Model model = model_from_text(definitions[0], "README.md");
  EXPECT_NO_THROW(check_trainable(instantiate_block(model, "mixer", {{"E", 32}})));
}

TEST(Documentation, TheFirstModel) {
  auto definitions = definitions_in("docs/first-model.md");
  ASSERT_FALSE(definitions.empty());
  for (const std::string& text : definitions) {
    Model model = model_from_text(text, "first-model.md");
    EXPECT_NO_THROW(check_trainable(instantiate(model))) << text;
  }
}

TEST(Documentation, TheDefinitionsAndTheDumpOfTheLanguage) {
  auto texts = definitions_in("docs/language.md");
  ASSERT_EQ(texts.size(), 3u);
  EXPECT_NO_THROW(check_trainable(instantiate(model_from_text(texts[0], "language.md", "tiny"))));
  EXPECT_NO_THROW(check_trainable(training_graph(model_from_text(texts[1], "language.md"))));
  EXPECT_EQ(print(parse_graph(texts[2], "language.md")), texts[2]);
}

TEST(Documentation, TheOpReferenceIsThatOfTheTable) {
  EXPECT_TRUE(text_of("docs/ops.md") == op_reference_markdown())
      << "docs/ops.md is not what ir/ops.def says; write it anew: cmake --build build --target op-reference";
}

TEST(Documentation, TheRemarksAreThoseOfTheTable) {
  EXPECT_TRUE(text_of("docs/remarks.md") == remark_reference_markdown())
      << "docs/remarks.md is not what passes/remarks.def says; write it anew: cmake --build build --target "
         "remark-reference";
}

TEST(Documentation, TheDesignHasEveryAxisOfASchedule) {
  const std::string design = text_of("docs/design.md"), axes = Schedule().str();
  const std::regex axis("([a-z_]+)=");
  for (std::sregex_iterator found(axes.begin(), axes.end(), axis), end; found != end; ++found)
    EXPECT_NE(design.find("`" + (*found)[1].str() + "`"), std::string::npos) << (*found)[1];
}

TEST(Documentation, LinksLeadSomewhere) {
  std::vector<fs::path> documents{"README.md"};
  for (const auto& entry : fs::directory_iterator(kSource / "docs"))
    if (entry.path().extension() == ".md") documents.push_back(fs::path("docs") / entry.path().filename());
  const std::regex link(R"(\]\(([^)#:]+)(#[^)]*)?\))");
  for (const fs::path& document : documents) {
    const std::string text = text_of(document);
    for (std::sregex_iterator found(text.begin(), text.end(), link), end; found != end; ++found)
      EXPECT_TRUE(fs::exists(kSource / document.parent_path() / (*found)[1].str())) << document << ": " << (*found)[1];
  }
}

}  // namespace
}  // namespace mambac
