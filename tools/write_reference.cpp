// Writes a page that comes from a table: `cmake --build build --target op-reference` or `remark-reference`.
#include <cstdio>
#include <fstream>
#include <string_view>

#include "ir/op_reference.h"
#include "passes/remark_reference.h"

int main(int count, char** arguments) {
  const std::string_view page = count == 3 ? arguments[1] : "";
  if (page != "ops" && page != "remarks") {
    std::fprintf(stderr, "usage: %s ops|remarks FILE\n", arguments[0]);
    return 2;
  }
  std::ofstream file(arguments[2]);
  file << (page == "ops" ? mambac::op_reference_markdown() : mambac::remark_reference_markdown());
  file.close();
  if (file) return 0;
  std::fprintf(stderr, "cannot write %s\n", arguments[2]);
  return 3;
}
