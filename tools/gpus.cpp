#include "tools/gpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "ir/error.h"

namespace mambac::tools {
namespace {

Gpu gpu_named(const std::string& name) {
  try {
    return gpu_of(DeviceDescription::find(name, "gpu"));
  } catch (const InputError& failure) {
    throw InputError(fmt::format("--gpu: {}", failure.what()));
  }
}

}  // namespace

Gpu gpu_of(DeviceDescription description) {
  description.expect_kind("gpu");
  Gpu gpu;
  gpu.name = description.name();
  gpu.title = description.text("title");
  gpu.architecture = description.text("architecture");
  gpu.source = description.source();
  gpu.multiprocessors = description.count("multiprocessors");
  gpu.clock = description.number("clock");
  gpu.bytes_per_second = description.number("bytes_per_second");
  gpu.l2_bytes = description.number("l2_bytes");
  gpu.l2_bytes_per_second = description.number("l2_bytes_per_second");
  gpu.narrow_products = description.number("product_flops_per_second");
  gpu.memory_latency = description.number("memory_latency");
  gpu.l2_latency = description.number("l2_latency");
  gpu.launch_seconds = description.number("launch_seconds");
  gpu.warps = description.count("warps");
  gpu.blocks = description.count("blocks");
  gpu.registers = description.count("registers");
  gpu.shared_bytes = description.count("shared_bytes");
  gpu.warps_issued = description.count("warps_issued");
  gpu.multiply_adds = description.count("multiply_adds");
  gpu.special_functions = description.count("special_functions");
  description.check_all_read();
  return gpu;
}

const std::vector<Gpu>& gpus() {
  static const std::vector<Gpu> all = [] {
    std::vector<Gpu> described;
    for (const std::string& name : DeviceDescription::shipped("gpu"))
      described.push_back(gpu_of(DeviceDescription::find(name)));
    return described;
  }();
  return all;
}

std::vector<Gpu> gpus_for(const std::string& architecture, const std::string& name) {
  if (name.empty()) {
    std::vector<Gpu> found;
    std::ranges::copy_if(gpus(), std::back_inserter(found),
                         [&](const Gpu& gpu) { return gpu.architecture == architecture; });
    return found;
  }
  Gpu gpu = gpu_named(name);
  if (gpu.architecture != architecture)
    throw InputError(fmt::format("--gpu: found {}, which is {}, expected one of {} (--device)", name, gpu.architecture,
                                 architecture));
  return {std::move(gpu)};
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
