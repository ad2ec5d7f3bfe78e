#include "tools/calibrate.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "codegen/llvm_jit.h"
#include "ir/error.h"
#include "passes/kernel_alone.h"
#include "runtime/cpu_device.h"
#include "runtime/cpu_info.h"
#include "tools/cache_lines.h"
#include "tools/compile.h"
#include "tools/cpus.h"
#include "tools/device_description.h"
#include "tools/device_files.h"
#include "tools/floors.h"
#include "tools/gpus.h"
#include "tools/tune_predict.h"
#include "tools/tune_times.h"
#include "tools/tune_trial.h"

namespace mambac::tools {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr const char* kMeasured = "measured by mambac tune --calibrate";

/// Three digits, as measurements deserve.
double rounded(double value) {
  return std::stod(fmt::format("{:.3g}", value));
}

/// The one kernel of a model by itself.
double kernel_seconds(const std::string& model, const Bindings& sizes, Device& device) {
  const Graph source = instantiate(model_from_text(model, "calibration"));
  const Graph fused = run_pipeline(source, options_for(GraphKind::eval, DType::f32, sizes)).graph;
  KernelTask task(kernel_alone(fused, 0, Stored::in_memory), sizes, device, false);
  KernelTrial trial(task, device.schedule(task.graph(), 0));
  trial.seconds();
  std::vector<double> seconds;
  for (int i = 0; i < 9; ++i) seconds.push_back(trial.seconds());
  std::ranges::nth_element(seconds, seconds.begin() + 4);
  return seconds[4];
}

/// Clocks per second: additions that wait for each other take one each.
double clock_hertz() {
  constexpr int64_t kAdditions = 64, kTimes = 1 << 20;
  double best = 1e9;
  for (int repeat = 0; repeat < 7; ++repeat) {
    int64_t sum = 0;
    const double begin = now();
    for (int64_t i = 0; i < kTimes; ++i)
      for (int64_t k = 0; k < kAdditions; ++k) __asm__ volatile("add $1, %0" : "+r"(sum));
    best = std::min(best, now() - begin);
  }
  return static_cast<double>(kAdditions * kTimes) / best;
}

constexpr int64_t kLine = static_cast<int64_t>(kLineBytes), kManyLines = 1 << 18, kFarApart = (1 << 17) + 9 * kLine;

/// Seconds that a thread takes for a line, of lines that no prefetcher foresees, when all threads read in as many bytes
/// each.
double line_seconds(int64_t bytes, int threads) {
  const int64_t lines = bytes / kLine;
  std::vector<std::unique_ptr<DeviceMemory>> memory(static_cast<size_t>(threads));
  double best = 1e9;
  for (std::unique_ptr<DeviceMemory>& own : memory) own = cpu_device().allocate(lines * kLine);
#pragma omp parallel num_threads(threads)
  {
    const DeviceMemory& own = *memory[static_cast<size_t>(omp_get_thread_num())];
    std::memset(own.data(), 1, own.bytes());
  }
  const int64_t sweeps = std::max(int64_t{1}, kManyLines / lines);  // beside them the start of threads is nothing
  for (int repeat = 0; repeat < 7; ++repeat) {
    const double begin = now();
#pragma omp parallel num_threads(threads)
    {
      const char* own = static_cast<const char*>(memory[static_cast<size_t>(omp_get_thread_num())]->data());
      int64_t at = 0;
      int sum = 0;
      for (int64_t i = 0; i < sweeps * lines; ++i) {
        sum += own[at];
        at += kFarApart;
        if (at >= lines * kLine) at -= lines * kLine;
      }
      __asm__ volatile("" ::"r"(sum));
    }
    best = std::min(best, now() - begin);
  }
  return best / static_cast<double>(sweeps * lines);
}

/// Of the L3 cache, which others may use as well, as much as is read clearly faster than memory.
int64_t own_l3_bytes(double memory) {
  int64_t own = cpu_info().l3_bytes;
  while (own > 2 * cpu_info().l2_bytes && floors::read_bytes_per_second(static_cast<size_t>(own)) < 1.5 * memory)
    own /= 2;
  return own;
}

void measure_cpu(OrderedJson& description, int threads) {
  const CpuInfo& cpu = cpu_info();
  const double multiply_adds = floors::multiply_adds_per_second();  // first: it takes a while until an idle clock is up
  const double clock = clock_hertz();
  const MatmulShape shape{.m = 512, .n = 3072, .k = 768, .a = DType::bf16, .b = DType::bf16, .c = DType::f32};
  const double product = 2.0 * 512 * 3072 * 768 / floors::product_seconds(shape, true);
  constexpr size_t kLarge = size_t{1} << 28;
  const double memory = floors::read_bytes_per_second(kLarge);
  const int64_t l3 = own_l3_bytes(memory);
  const auto per_core = [&](double all) { return all / threads; };
  const auto line_clocks = [&](int64_t bytes) { return rounded(clock * line_seconds(bytes / threads, threads)); };
  constexpr const char* kEmpty = "free B, L\nmodel empty(x: [B, L]) -> [B, L] {\n  return y = x + 1\n}\n";
  description["clock"] = rounded(clock);
  description["pipe_lanes"] = cpu.halves_vectors ? cpu.lanes() / 2 : cpu.lanes();
  description["multiply_adds"] = rounded(per_core(multiply_adds) / clock);
  description["narrow_multiply_adds"] = rounded(per_core(product) / 2 / clock);
  description["l1_bytes"] = cpu.l1_data_bytes;
  description["l2_bytes"] = cpu.l2_bytes;
  description["l3_bytes"] = l3;
  description["l2_bytes_per_second"] =
      rounded(per_core(floors::read_bytes_per_second(static_cast<size_t>(threads * cpu.l2_bytes / 2))));
  description["l3_bytes_per_second"] = rounded(floors::read_bytes_per_second(static_cast<size_t>(l3 / 2)));
  description["bytes_per_second"] = rounded(memory);
  description["l2_line_clocks"] = line_clocks(threads * cpu.l2_bytes / 2);
  description["l3_line_clocks"] = line_clocks(l3 / 2);
  description["line_clocks"] = line_clocks(kLarge);
  description["launch_seconds"] = rounded(kernel_seconds(kEmpty, {{"B", 4 * threads}, {"L", 64}}, cpu_device()));
}

OrderedJson describe_cpu(Device& device) {
  const DeviceModel model = device.model();
  OrderedJson description = {{"kind", "cpu"},
                             {"title", fmt::format("{}, {} threads", cpu_info().model, model.threads)},
                             {"architecture", model.architecture},
                             {"threads", model.threads}};
  measure_cpu(description, model.threads);
  std::vector<std::string> measured;
  for (const auto& [field, value] : description.items())
    if (value.is_number()) measured.push_back(field);
  // How far apart accesses may lie that prefetchers foresee does not show in a bare loop.
  const std::string nearest = description_of(model);
  description["stride_bytes"] =
      nearest.empty() ? NearMemory{}.stride_bytes : cpu_of(DeviceDescription::find(nearest)).stride_bytes;
  description["sources"][kMeasured] = measured;
  description["sources"][nearest.empty() ? "estimate" : "the description of " + nearest] = {"stride_bytes"};
  return description;
}

/// Multiply-adds that wait for nothing but each other, many for each element.
std::string multiply_adds_text(int count) {
  std::string text = "free P\nmodel multiply_adds(x: [P]) -> [P] {\n  y0 = x\n";
  for (int i = 0; i < count; ++i) text += fmt::format("  y{} = y{} * x + x\n", i + 1, i);
  return text + fmt::format("  return y = y{}\n}}\n", count);
}

OrderedJson describe_gpu(Device& device) {
  constexpr int64_t kElements = int64_t{1} << 26, kFew = int64_t{1} << 22;
  constexpr int kMultiplyAdds = 256;
  const std::string nearest = description_of(device.model());
  if (nearest.empty())
    throw EnvironmentError(
        fmt::format("no description of a GPU of {} is known, whose numbers of multiprocessors and "
                    "pipes could be taken over; models/devices/ shows what one has",
                    device.model().architecture));
  const Gpu gpu = gpu_of(DeviceDescription::find(nearest));
  OrderedJson description = OrderedJson::parse(find_embedded(device_files(), nearest + ".json")->text);
  const double copy =
      kernel_seconds("free P\nmodel copy(x: [P]) -> [P] {\n  return y = x + 1\n}\n", {{"P", kElements}}, device);
  const double adds = kernel_seconds(multiply_adds_text(kMultiplyAdds), {{"P", kFew}}, device);
  const double clock = static_cast<double>(kFew) * kMultiplyAdds / adds / (gpu.multiprocessors * gpu.multiply_adds);
  description["title"] = device.model().name;
  description["bytes_per_second"] = rounded(2.0 * sizeof(float) * kElements / copy / kOfBandwidth);
  description["clock"] = rounded(std::min(clock, gpu.clock));
  for (auto& [document, fields] : description["sources"].items())
    std::erase_if(fields.get_ref<OrderedJson::array_t&>(),
                  [](const OrderedJson& field) { return field == "bytes_per_second" || field == "clock"; });
  description["sources"][kMeasured] = {"bytes_per_second", "clock"};
  return description;
}

}  // namespace

std::string calibrated(Device& device) {
  const OrderedJson description = device.kind() == DeviceKind::cpu ? describe_cpu(device) : describe_gpu(device);
  return description.dump(2) + "\n";
}

}  // namespace mambac::tools
