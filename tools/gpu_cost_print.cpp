// The report of gpu_cost as a table and as JSON.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/progress.h"
#include "tools/gpu_cost.h"

namespace mambac::tools {
namespace {

std::string milliseconds(double seconds) {
  return fmt::format("{:.4f}", seconds * 1e3);
}

std::string per_update(const GpuKernelCost& kernel) {
  return kernel.updates > 0 ? fmt::format("{:.2f}", kernel.work.slots / kernel.updates) : "";
}

double total_seconds(const GpuCost& cost, const Gpu& gpu) {
  double seconds = 0;
  for (const GpuKernelCost& kernel : cost.kernels)
    seconds += kernel.launches * longest(times_on(gpu, kernel.work)).seconds;
  return seconds;
}

template <class Part>
double total(const GpuCost& cost, Part part) {
  double sum = 0;
  for (const GpuKernelCost& kernel : cost.kernels) sum += kernel.launches * part(kernel);
  return sum;
}

double flops_of(const GpuKernelCost& kernel) {
  return kernel.work.flops + kernel.work.products;
}

int launches_of(const GpuCost& cost) {
  int launches = 0;
  for (const GpuKernelCost& kernel : cost.kernels) launches += kernel.launches;
  return launches;
}

Json work_json(const GpuKernelCost& kernel, const std::vector<Gpu>& gpus) {
  Json json = {{"name", kernel.name},
               {"library", kernel.library},
               {"launches", kernel.launches},
               {"bytes", whole(kernel.work.bytes)},
               {"flops", whole(flops_of(kernel))},
               {"exponentials", whole(kernel.exponentials)},
               {"issue_slots", whole(kernel.work.slots)},
               {"special_function_slots", whole(kernel.work.specials)}};
  if (kernel.updates > 0) {
    json["state_updates"] = whole(kernel.updates);
    json["slots_per_state_update"] = kernel.work.slots / kernel.updates;
  }
  for (const Gpu& gpu : gpus) {
    const std::vector<ResourceTime> times = times_on(gpu, kernel.work);
    const ResourceTime& time = longest(times);
    json["at_least"][std::string(gpu.name)] = {{"seconds", time.seconds}, {"bound", time.resource}};
  }
  return json;
}

}  // namespace

void print_gpu_cost(const GpuCost& cost, const std::vector<Gpu>& gpus) {
  fmt::print("{:>9}{:>11}{:>11}{:>11}{:>11}{:>9}{:>11}", "launches", "bytes", "FLOPs", "exp, log", "issue", "/update",
             "MUFU");
  for (const Gpu& gpu : gpus) fmt::print("{:>11}", fmt::format("{} ms", gpu.name));
  fmt::print("{}\n", gpus.empty() ? "" : "  bound");
  const auto line = [&](int launches, double bytes, double flops, double exponentials, double slots,
                        const std::string& update, double specials) {
    fmt::print("{:>9}{:>11}{:>11}{:>11}{:>11}{:>9}{:>11}", launches, byte_text(bytes), scaled(flops),
               scaled(exponentials), scaled(slots), update, scaled(specials));
  };
  line(launches_of(cost), total(cost, [](const auto& k) { return k.work.bytes; }), total(cost, flops_of),
       total(cost, [](const auto& k) { return k.exponentials; }),
       total(cost, [](const auto& k) { return k.work.slots; }), "",
       total(cost, [](const auto& k) { return k.work.specials; }));
  for (const Gpu& gpu : gpus) fmt::print("{:>11}", milliseconds(total_seconds(cost, gpu)));
  fmt::print("{}  all launches together; below, one launch of each kernel\n", gpus.empty() ? "" : "          ");
  for (const GpuKernelCost& kernel : cost.kernels) {
    line(kernel.launches, kernel.work.bytes, flops_of(kernel), kernel.exponentials, kernel.work.slots,
         per_update(kernel), kernel.work.specials);
    std::string bounds;
    for (const Gpu& gpu : gpus) {
      const std::vector<ResourceTime> times = times_on(gpu, kernel.work);
      const ResourceTime& time = longest(times);
      fmt::print("{:>11}", milliseconds(time.seconds));
      if (bounds.find(time.resource) == std::string::npos)
        bounds += (bounds.empty() ? "" : "/") + std::string(time.resource);
    }
    fmt::print("{}  {}\n", gpus.empty() ? "" : fmt::format("  {:<8}", bounds), kernel.name);
  }
  for (const Gpu& gpu : gpus)
    fmt::print("{}: {} multiprocessors at {:.2f} GHz, {:.2f} TB/s, {:.0f} TFLOP/s in products of bf16 ({})\n",
               gpu.title, gpu.multiprocessors, gpu.clock / 1e9, gpu.bytes_per_second / 1e12, gpu.narrow_products / 1e12,
               gpu.source);
  fmt::print("issue slots and MUFU counted in {} for {}, {}\n", cost.counted_in, cost.architecture,
             cost.counted_in == "SASS"
                 ? "by " + cost.reader
                 : "the assembler's input, since no nvdisasm was found; $MAMBAC_NVDISASM may name one");
}

Json gpu_cost_json(const GpuCost& cost, const std::vector<Gpu>& gpus) {
  Json json = {{"architecture", cost.architecture},
               {"counted_in", cost.counted_in},
               {"disassembler", cost.reader},
               {"launches", launches_of(cost)},
               {"bytes", whole(total(cost, [](const auto& k) { return k.work.bytes; }))},
               {"flops", whole(total(cost, flops_of))},
               {"issue_slots", whole(total(cost, [](const auto& k) { return k.work.slots; }))},
               {"special_function_slots", whole(total(cost, [](const auto& k) { return k.work.specials; }))},
               {"gpus", Json::object()},
               {"kernels", Json::array()}};
  for (const Gpu& gpu : gpus)
    json["gpus"][std::string(gpu.name)] = {{"title", gpu.title},
                                           {"multiprocessors", gpu.multiprocessors},
                                           {"clock_hz", gpu.clock},
                                           {"bytes_per_second", gpu.bytes_per_second},
                                           {"product_flops_per_second", gpu.narrow_products},
                                           {"source", gpu.source},
                                           {"seconds_at_least", total_seconds(cost, gpu)}};
  for (const GpuKernelCost& kernel : cost.kernels) json["kernels"].push_back(work_json(kernel, gpus));
  return json;
}

}  // namespace mambac::tools
