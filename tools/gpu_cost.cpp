#include "tools/gpu_cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <tuple>

#include "runtime/parallel.h"
#include "tools/code_reader.h"
#include "tools/schedule_option.h"

namespace mambac::tools {
namespace {

using cuda::SlotCount;

std::vector<SlotCount> counts_of(const CudaKernels& kernels, const CodeReader& reader, const Bindings& sizes) {
  const std::vector<CudaKernel>& all = kernels.all();
  std::vector<SlotCount> counts(all.size());
  for_each_in_parallel(all.size(), [&](size_t i) {
    const std::vector<machine::Function> functions = reader.read(all[i]);
    for (const StageRuns& stage : stage_runs(all[i], functions, sizes)) counts[i] += stage.slots;
  });
  return counts;
}

/// By kernel: the elements of its largest scan.
std::vector<double> updates_of(const Graph& fused, const Bindings& sizes) {
  std::vector<double> updates(fused.kernels.size(), 0);
  for (const Node& node : fused.nodes())
    if (node.op == Op::Scan && node.kernel >= 0) {
      double& most = updates[static_cast<size_t>(node.kernel)];
      most = std::max(most, static_cast<double>(elements_of(fused, node.type, sizes)));
    }
  return updates;
}

/// "dot 65536x4096x1024" of "k7_dot".
std::string library_name(const KernelWork& work) {
  const std::string name = work.name.substr(work.name.find('_') + 1);
  if (!work.product) return name;
  const std::string batch = work.product->batch > 1 ? fmt::format("{}x", work.product->batch) : "";
  return fmt::format("{} {}{}x{}x{} {}", name, batch, work.product->m, work.product->n, work.product->k,
                     name_of(work.product->a));
}

GpuKernelCost cost_of_library(const KernelWork& work) {
  GpuKernelCost cost{.name = library_name(work), .library = true, .exponentials = work.exponentials, .work = {}};
  cost.work.bytes = work.bytes();
  if (work.product) {
    cost.work.products = work.flops;
    cost.work.product = *work.product;
  } else {
    cost.work.flops = work.flops;
  }
  return cost;
}

GpuKernelCost cost_of_kernel(const CudaKernel& kernel, const KernelWork& work, const SlotCount& count) {
  GpuKernelCost cost{.name = kernel.name, .exponentials = work.exponentials, .work = {}};
  cost.work.bytes = work.bytes();
  cost.work.flops = work.flops;
  cost.work.slots = count.slots;
  cost.work.specials = count.special;
  return cost;
}

}  // namespace

CountedKernels count_kernels(const Graph& fused, GraphKind kind, const std::vector<int>& chosen, const Bindings& sizes,
                             const std::string& architecture, const Program::Scheduler& schedule) {
  const CodeReader reader(architecture);
  CountedKernels counted{
      reader.disassembler().empty() ? "PTX" : "SASS", reader.disassembler().string(), CudaKernels(schedule), {}, {}};
  counted.numbers = counted.kernels.add(fused, kind, chosen);
  compile_all(counted.kernels, architecture, kLineTables);
  counted.slots = counts_of(counted.kernels, reader, sizes);
  return counted;
}

std::vector<cuda::CodeLine> machine_lines(const CudaKernel& kernel, const std::string& architecture) {
  return CodeReader(architecture).lines(kernel);
}

GpuKernelCost kernel_cost(const CountedKernels& counted, size_t number, const KernelWork& work) {
  if (counted.numbers[number] < 0) return cost_of_library(work);
  const auto place = static_cast<size_t>(counted.numbers[number]);
  return cost_of_kernel(counted.kernels.all()[place], work, counted.slots[place]);
}

GpuCost gpu_cost(const Graph& fused, GraphKind kind, const Bindings& sizes, const std::string& architecture,
                 const Program::Scheduler& schedule) {
  const std::vector<KernelWork> works = kernel_work(fused, sizes);  // first, since it says which size is missing
  const CountedKernels counted = count_kernels(fused, kind, kernels_named("", fused), sizes, architecture, schedule);
  const std::vector<double> updates = updates_of(fused, sizes);
  GpuCost cost{architecture, counted.counted_in, counted.reader, {}};
  std::map<std::tuple<std::string, double, double>, size_t> known;
  for (size_t k = 0; k < works.size(); ++k) {
    GpuKernelCost one = kernel_cost(counted, k, works[k]);
    one.updates = updates[k];
    const auto [entry, fresh] =
        known.emplace(std::tuple{one.name, one.work.bytes, works[k].flops}, cost.kernels.size());
    if (fresh) cost.kernels.push_back(one);
    ++cost.kernels[entry->second].launches;
  }
  return cost;
}

}  // namespace mambac::tools
