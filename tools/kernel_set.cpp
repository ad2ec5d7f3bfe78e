#include "tools/kernel_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "codegen/loop_ir.h"
#include "runtime/hash.h"
#include "tools/text_diff.h"

namespace mambac::tools {
namespace {

constexpr std::string_view kKernel = "kernel ";

/// What is before a comment of loop IR or CUDA C++.
std::string_view code_of(std::string_view line) {
  const size_t end = std::min(line.find("# "), line.find("//"));
  line = line.substr(0, end);
  return line.substr(0, line.find_last_not_of(' ') + 1);
}

std::string with_name_hidden(std::string code, const std::string& name) {
  for (size_t at = 0; !name.empty() && (at = code.find(name, at)) != std::string::npos;)
    code.replace(at, name.size(), "_");
  return code;
}

/// Moves what `same` finds of `before` in `after` out of both: calls take(one, other) for each.
template <typename Same, typename Take>
void match(std::vector<KernelText>& before, std::vector<KernelText>& after, const Same& same, const Take& take) {
  std::vector<KernelText> left;
  for (KernelText& kernel : before) {
    const auto other =
        std::ranges::find_if(after, [&](const KernelText& candidate) { return same(kernel, candidate); });
    if (other == after.end()) {
      left.push_back(std::move(kernel));
    } else {
      take(std::move(kernel), std::move(*other));
      after.erase(other);
    }
  }
  before = std::move(left);
}

std::string shortened(const KernelText& kernel) {
  return kernel.content.substr(0, 12);
}

}  // namespace

KernelText kernel_text(const std::string& name, const std::string& text) {
  std::string code;
  for (const std::string_view line : lines_of(text))
    if (const std::string_view part = code_of(line); !part.empty()) code += std::string(part) + "\n";
  return {name, text, hash_128_text(with_name_hidden(std::move(code), name))};
}

std::vector<KernelText> kernels_of(const Graph& fused, const Program::Scheduler& scheduler, DeviceKind device) {
  const Layouts layouts(fused);
  std::vector<KernelText> kernels;
  for (int number = 0; number < static_cast<int>(fused.kernels.size()); ++number) {
    if (fused.kernels[static_cast<size_t>(number)].kind == KernelGroup::library) continue;
    const loop::Kernel kernel = lower(fused, layouts, number, scheduler(fused, number), device).kernel;
    kernels.push_back(kernel_text(kernel.name, loop::print(kernel)));
  }
  return kernels;
}

std::vector<KernelText> kernels_in(const std::string& dumped) {
  std::vector<KernelText> kernels;
  std::string name, text;
  const auto finish = [&] {
    if (!name.empty()) kernels.push_back(kernel_text(name, text));
    name = text = "";
  };
  for (const std::string_view line : lines_of(dumped)) {
    if (line.empty() || line.starts_with('#')) continue;  // between kernels
    if (line.starts_with(kKernel)) {
      finish();
      const std::string_view rest = line.substr(kKernel.size());
      name = rest.substr(0, rest.find(' '));
    }
    if (!name.empty()) text += std::string(line) + "\n";
  }
  finish();
  return kernels;
}

KernelChanges compare_kernels(const std::vector<KernelText>& before, const std::vector<KernelText>& after) {
  KernelChanges changes;
  changes.vanished = before;
  changes.appeared = after;
  match(
      changes.vanished, changes.appeared,
      [](const KernelText& a, const KernelText& b) { return a.content == b.content; },
      [&](const KernelText&, const KernelText&) { ++changes.same; });
  match(
      changes.vanished, changes.appeared, [](const KernelText& a, const KernelText& b) { return a.name == b.name; },
      [&](KernelText a, KernelText b) { changes.changed.emplace_back(std::move(a), std::move(b)); });
  return changes;
}

std::string text_of(const KernelChanges& changes) {
  std::vector<std::string> lines;
  for (const auto& [before, after] : changes.changed)
    lines.push_back(fmt::format("changed   {}  {} -> {}", before.name, shortened(before), shortened(after)));
  for (const KernelText& kernel : changes.vanished)
    lines.push_back(fmt::format("vanished  {}  {}", kernel.name, shortened(kernel)));
  for (const KernelText& kernel : changes.appeared)
    lines.push_back(fmt::format("appeared  {}  {}", kernel.name, shortened(kernel)));
  std::string text;
  std::set<std::string> seen;
  for (const std::string& line : lines) {
    if (!seen.insert(line).second) continue;
    const auto times = std::ranges::count(lines, line);
    text += times == 1 ? line + "\n" : fmt::format("{}  {} times\n", line, times);
  }
  return text;
}

}  // namespace mambac::tools
