// CUDA C++ texts compiled for a device and loaded there.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/cuda/kernel_cache.h"
#include "runtime/cuda/module.h"
#include "runtime/cuda/nvrtc.h"

namespace mambac::cuda {

class LoadedText {
 public:
  LoadedText(Module module, std::vector<KernelUse> uses) : module_(std::move(module)), uses_(std::move(uses)) {}

  /// The kernel of this name; valid as long as this is.
  Kernel kernel(const std::string& symbol) const { return module_.kernel(symbol); }
  /// Of all its kernels.
  const std::vector<KernelUse>& uses() const { return uses_; }

 private:
  Module module_;
  std::vector<KernelUse> uses_;
};

class TextLoader {
 public:
  struct Text {
    std::string name;  // of the program, in messages and line tables: "k5"
    std::string text;  // stands behind codegen/cuda/device_header.h's
  };

  /// `notice` is told when compiled kernels cannot be kept on disk. EnvironmentError when there is no machine code for
  /// the device to be had from this NVRTC, or its driver would not take it.
  TextLoader(const Device& device, const Nvrtc& nvrtc, const KernelCache::Notice& notice);

  /// In the order of the texts. What is loaded already is shared, equal texts are one; the others come from the cache
  /// on disk or are compiled, on all of OpenMP's threads. Errors: see Nvrtc::compile and Module.
  std::vector<std::shared_ptr<const LoadedText>> load(const std::vector<Text>& texts);

 private:
  std::vector<Compilation> compile(const std::vector<CompileRequest>& requests);
  std::shared_ptr<const LoadedText> load(const CompileRequest& request, Compilation compiled);

  const Device& device_;
  const Nvrtc& nvrtc_;
  std::string architecture_;
  KernelCache cache_;
  std::map<std::string, std::weak_ptr<const LoadedText>> loaded_;  // by their texts
};

}  // namespace mambac::cuda
