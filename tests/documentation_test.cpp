// The definitions that the documents show are definitions: each fenced text that begins with `free` is compiled.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "frontend/model.h"

namespace mambac {
namespace {

std::vector<std::string> definitions_in(const std::string& document) {
  std::ifstream file(std::string(MAMBAC_SOURCE_DIR) + "/" + document);
  EXPECT_TRUE(file.good()) << document;
  std::vector<std::string> found;
  std::string fenced;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
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

}  // namespace
}  // namespace mambac
