// Kernels as texts, to be compared by what they do.
#pragma once

#include <string>
#include <vector>

#include "runtime/program.h"

namespace mambac::tools {

struct KernelText {
  std::string name;     // in emitted code
  std::string text;     // loop IR or CUDA C++; empty where only its content is known
  std::string content;  // 32 hexadecimal digits; see kernel_text
};

/// The content is a hash of the text without comments, in which the name does not count: equal for kernels that compute
/// the same in the same way.
KernelText kernel_text(const std::string& name, const std::string& text);

/// The loops of all kernels of a fused graph but library calls, in order.
std::vector<KernelText> kernels_of(const Graph& fused, const Program::Scheduler& scheduler, DeviceKind device);

/// The kernels in what `mambac dump --stage kernels` writes.
std::vector<KernelText> kernels_in(const std::string& dumped);

struct KernelChanges {
  int64_t same = 0;
  std::vector<KernelText> appeared, vanished;
  std::vector<std::pair<KernelText, KernelText>> changed;  // of one name, before and after
  bool any() const { return !appeared.empty() || !vanished.empty() || !changed.empty(); }
};

/// Kernels of equal content are the same, whatever their names; of the others, those of one name are one that changed.
/// A kernel that is there several times counts as often.
KernelChanges compare_kernels(const std::vector<KernelText>& before, const std::vector<KernelText>& after);

/// One line for each change, "changed  NAME  CONTENT -> CONTENT", and how many times it is there.
std::string text_of(const KernelChanges& changes);

}  // namespace mambac::tools
