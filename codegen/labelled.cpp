#include "codegen/labelled.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/cuda/cuda_emit.h"
#include "codegen/llvm_jit.h"

namespace mambac {

namespace {

constexpr size_t kMargin = 100;  // of longer lines the label follows the text

std::vector<LabelledLine> lines_of(std::string_view text, const std::vector<int>& origins) {
  std::vector<LabelledLine> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const int origin = lines.size() < origins.size() ? origins[lines.size()] : -1;
    lines.push_back({std::string(text.substr(0, end)), origin});
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// As terminals show it.
size_t width_of(std::string_view text) {
  constexpr size_t kTab = 8;
  size_t width = 0;
  for (const char c : text) width = c == '\t' ? (width / kTab + 1) * kTab : width + 1;
  return width;
}

}  // namespace

std::vector<LabelledLine> labelled_loops(const loop::Kernel& kernel) {
  std::vector<int> origins;
  const std::string text = loop::print(kernel, &origins);
  return lines_of(text, origins);
}

std::vector<LabelledLine> labelled_cuda(const loop::Kernel& kernel) {
  std::vector<int> origins;
  const std::string text = cuda_emit::emit(kernel, nullptr, &origins);
  return lines_of(text, origins);
}

std::vector<LabelledLine> labelled_llvm(const loop::Kernel& kernel) {
  const Listing listing = Jit::host().list(kernel, true);
  return lines_of(listing.llvm_ir, listing.llvm_ir_origins);
}

std::vector<LabelledLine> labelled_assembly(const loop::Kernel& kernel) {
  const Listing listing = Jit::host().list(kernel, true);
  return lines_of(listing.assembly, listing.assembly_origins);
}

std::vector<LabelledLine> labelled_code(const loop::Kernel& kernel, std::string_view form) {
  if (form == "kernels") return labelled_loops(kernel);
  if (form == "cuda") return labelled_cuda(kernel);
  return form == "llvm" ? labelled_llvm(kernel) : labelled_assembly(kernel);
}

std::string_view comment_mark(std::string_view form) {
  if (form == "llvm") return ";";
  return form == "kernels" || form == "asm" ? "#" : "//";
}

std::string label_text(const loop::Origin& origin) {
  const std::string name = (origin.shared ? "walk of " : "") + origin.name;
  return origin.location.known() ? fmt::format("{}:{} {}", *origin.location.file, origin.location.line, name) : name;
}

std::string with_labels(const std::vector<LabelledLine>& lines, const std::vector<loop::Origin>& origins,
                        std::string_view comment) {
  size_t margin = 0;
  for (const LabelledLine& line : lines) margin = std::max(margin, width_of(line.text));
  margin = std::min(margin, kMargin);
  std::string text;
  for (const LabelledLine& line : lines) {
    text += line.text;
    if (line.origin >= 0) {
      const size_t width = width_of(line.text);
      text.append(std::max(margin, width) - width + 2, ' ');
      text += fmt::format("{} {}", comment, label_text(origins.at(static_cast<size_t>(line.origin))));
    }
    text += '\n';
  }
  return text;
}

}  // namespace mambac
