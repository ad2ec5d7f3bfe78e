#include "tools/gpus.h"

#include <fmt/format.h>

#include <vector>

#include "frontend/suggest.h"
#include "ir/error.h"

namespace mambac::tools {
namespace {

constexpr Gpu kGpus[] = {
    {"h100", "H100 SXM5 80 GB", "sm_90", 132, 1.98e9, 3.35e12, 989.4e12,
     "NVIDIA H100 datasheet and architecture paper"},
    {"h200", "H200 SXM 141 GB", "sm_90", 132, 1.98e9, 4.8e12, 989.4e12, "NVIDIA H200 datasheet"},
};

}  // namespace

std::span<const Gpu> gpus() {
  return kGpus;
}

const Gpu& gpu_named(const std::string& name) {
  std::vector<std::string> known;
  for (const Gpu& gpu : kGpus) {
    if (gpu.name == name) return gpu;
    known.emplace_back(gpu.name);
  }
  throw InputError(
      fmt::format("--gpu: found '{}', expected {}{}", name, fmt::join(known, " or "), did_you_mean(name, known)));
}

GpuTime time_on(const Gpu& gpu, const GpuWork& work) {
  GpuTime time;
  const auto consider = [&](double seconds, std::string_view bound) {
    if (seconds > time.seconds) time = {seconds, bound};
  };
  consider(work.bytes / gpu.bytes_per_second, "bytes");
  consider(work.flops / gpu.flops_per_second(), "FMA");
  consider(work.specials / gpu.specials_per_second(), "MUFU");
  consider(work.slots / gpu.slots_per_second(), "issue");
  if (work.products > 0) consider(work.products / gpu.product_flops_per_second(work.product), "products");
  return time;
}

}  // namespace mambac::tools
