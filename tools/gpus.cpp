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

const Gpu& gpu_named(const std::string& name) {
  std::vector<std::string> known;
  for (const Gpu& gpu : kGpus) {
    if (gpu.name == name) return gpu;
    known.emplace_back(gpu.name);
  }
  throw InputError(
      fmt::format("--gpu: found '{}', expected {}{}", name, fmt::join(known, " or "), did_you_mean(name, known)));
}

}  // namespace

std::span<const Gpu> gpus() {
  return kGpus;
}

std::vector<Gpu> gpus_for(const std::string& architecture, const std::string& name) {
  std::vector<Gpu> found;
  for (const Gpu& gpu : gpus())
    if (name.empty() ? gpu.architecture == architecture : &gpu == &gpu_named(name)) found.push_back(gpu);
  for (const Gpu& gpu : found)
    if (gpu.architecture != architecture)
      throw InputError(fmt::format("--gpu: found {}, which is {}, expected one of {} (--device)", name,
                                   gpu.architecture, architecture));
  return found;
}

std::vector<ResourceTime> times_on(const Gpu& gpu, const GpuWork& work) {
  std::vector<ResourceTime> times{{work.bytes / gpu.bytes_per_second, "bytes"},
                                  {work.flops / gpu.flops_per_second(), "FMA"},
                                  {work.specials / gpu.specials_per_second(), "MUFU"},
                                  {work.slots / gpu.slots_per_second(), "issue"}};
  if (work.products > 0) times.push_back({work.products / gpu.product_flops_per_second(work.product), "products"});
  return times;
}

}  // namespace mambac::tools
