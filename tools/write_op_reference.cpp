// Writes docs/ops.md from the op table: `cmake --build build --target op-reference`.
#include <cstdio>
#include <fstream>

#include "ir/op_reference.h"

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s FILE\n", arguments[0]);
    return 2;
  }
  std::ofstream file(arguments[1]);
  file << mambac::op_reference_markdown();
  file.close();
  if (file) return 0;
  std::fprintf(stderr, "cannot write %s\n", arguments[1]);
  return 3;
}
