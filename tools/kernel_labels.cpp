#include "tools/kernel_labels.h"

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <set>

#include "codegen/kernel_name.h"
#include "tools/kernel_work.h"

namespace mambac::tools {
namespace {

using Lines = std::map<std::string, std::set<int>>;  // by the name of the file, without its folder

/// "31-36,40"
std::string ranges_text(const std::set<int>& lines) {
  std::string text;
  for (auto at = lines.begin(); at != lines.end();) {
    const int first = *at;
    int last = first;
    while (++at != lines.end() && *at == last + 1) last = *at;
    text += (text.empty() ? "" : ",") + (first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last));
  }
  return text;
}

std::string lines_text(const Lines& lines) {
  std::string text;
  for (const auto& [file, numbers] : lines)
    text += fmt::format("{}{}:{}", text.empty() ? "" : " ", file, ranges_text(numbers));
  return text;
}

}  // namespace

std::vector<const trace::Label*> kernel_labels(const Graph& fused, const Bindings& sizes) {
  std::vector<Lines> lines(fused.kernels.size());
  for (const Node& node : fused.nodes())
    if (node.kernel >= 0 && node.location.known())
      lines[static_cast<size_t>(node.kernel)][std::filesystem::path(*node.location.file).filename().string()].insert(
          node.location.line);
  const std::vector<KernelWork> work = kernel_work(fused, sizes);
  std::vector<const trace::Label*> labels;
  for (size_t k = 0; k < fused.kernels.size(); ++k)
    labels.push_back(&trace::interned({work[k].library ? "library" : "kernel",
                                       kernel_name(fused, static_cast<int>(k)),
                                       {{"kernel", fused.kernels[k].name},
                                        {"lines", lines_text(lines[k])},
                                        {"bytes", static_cast<int64_t>(work[k].bytes())}}}));
  return labels;
}

}  // namespace mambac::tools
