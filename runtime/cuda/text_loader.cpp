#include "runtime/cuda/text_loader.h"

#include <fmt/format.h>


#include "runtime/cuda/kernel_source.h"
#include "runtime/parallel.h"

namespace mambac::cuda {
namespace {

std::string architecture_of(const Device& device, const Nvrtc& nvrtc) {
  check_driver_takes(device.driver(), nvrtc);
  return nvrtc.architecture_for(device.info().major, device.info().minor);
}

}  // namespace

TextLoader::TextLoader(const Device& device, const Nvrtc& nvrtc, const KernelCache::Notice& notice)
    : device_(device),
      nvrtc_(nvrtc),
      architecture_(architecture_of(device, nvrtc)),
      cache_(KernelCache::default_folder(), notice) {}

std::vector<std::shared_ptr<const LoadedText>> TextLoader::load(const std::vector<Text>& texts) {
  std::map<std::string, std::shared_ptr<const LoadedText>> held;  // those of this call
  std::vector<CompileRequest> missing;
  std::vector<const std::string*> missing_texts;
  for (const Text& text : texts) {
    const auto [entry, fresh] = held.emplace(text.text, nullptr);
    if (!fresh) continue;
    if (const auto found = loaded_.find(text.text); found != loaded_.end()) entry->second = found->second.lock();
    if (entry->second) continue;
    missing.push_back(request_for(text.name, text.text, architecture_));
    missing_texts.push_back(&entry->first);
  }
  std::vector<Compilation> compiled = compile(missing);
  for (size_t i = 0; i < missing.size(); ++i) {
    auto& loaded = held.at(*missing_texts[i]);
    loaded = load(missing[i], std::move(compiled[i]));
    loaded_[*missing_texts[i]] = loaded;
  }
  std::vector<std::shared_ptr<const LoadedText>> all;
  for (const Text& text : texts) all.push_back(held.at(text.text));
  return all;
}

std::vector<Compilation> TextLoader::compile(const std::vector<CompileRequest>& requests) {
  std::vector<Compilation> compiled(requests.size());
  for_each_in_parallel(requests.size(), [&](size_t i) { compiled[i] = cache_.compile(nvrtc_, requests[i]); });
  return compiled;
}

std::shared_ptr<const LoadedText> TextLoader::load(const CompileRequest& request, Compilation compiled) {
  const std::string origin =
      fmt::format("{} by NVRTC {} for {}", request.program, nvrtc_.version(), request.architecture);
  try {
    return std::make_shared<LoadedText>(Module(device_, compiled.cubin, origin), compiled.kernels);
  } catch (const RefusedImage&) {
    // It may be that only what was kept is bad.
    cache_.forget(nvrtc_, request);
    compiled = cache_.compile(nvrtc_, request);
    return std::make_shared<LoadedText>(Module(device_, compiled.cubin, origin), compiled.kernels);
  }
}

}  // namespace mambac::cuda
