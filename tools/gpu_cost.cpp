#include "tools/gpu_cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <tuple>

#include "codegen/cuda/cuda_emit.h"
#include "ir/error.h"
#include "runtime/cuda/disassembler.h"
#include "runtime/cuda/kernel_source.h"
#include "runtime/parallel.h"
#include "tools/schedule_option.h"

namespace mambac::tools {
namespace {

using cuda::MachineFunction;
using cuda::SlotCount;

/// Reads the machine code of kernels that compile_all compiled with line tables.
class CodeReader {
 public:
  explicit CodeReader(std::string architecture)
      : architecture_(std::move(architecture)),
        disassembler_(cuda::find_disassembler(cuda::Nvrtc::instance().path())) {}

  const std::filesystem::path& disassembler() const { return disassembler_; }

  std::vector<MachineFunction> read(const CudaKernel& kernel) const {
    if (disassembler_.empty()) return cuda::parse_ptx(ptx(kernel), cuda::first_line_of_text());
    return cuda::parse_sass(cuda::disassemble(disassembler_, kernel.code.cubin));
  }

  std::vector<cuda::CodeLine> lines(const CudaKernel& kernel) const {
    if (disassembler_.empty()) return cuda::ptx_lines(ptx(kernel), cuda::first_line_of_text());
    return cuda::sass_lines(cuda::disassemble(disassembler_, kernel.code.cubin));
  }

 private:
  std::string ptx(const CudaKernel& kernel) const {
    cuda::CompileRequest request = cuda::request_for(kernel.name, kernel.text, architecture_);
    request.options = kLineTables;
    return cuda::Nvrtc::instance().ptx(request);
  }

  std::string architecture_;
  std::filesystem::path disassembler_;
};

const MachineFunction& function_of(const std::vector<MachineFunction>& functions, const std::string& symbol) {
  for (const MachineFunction& function : functions)
    if (function.name == symbol) return function;
  throw EnvironmentError(fmt::format("the disassembly of a kernel lacks its function {}", symbol));
}

/// Of one launch: all threads of all tasks. The task in the middle stands for all of them.
SlotCount launch_count(const CudaKernel& kernel, const std::vector<MachineFunction>& functions, const Bindings& sizes) {
  std::vector<int64_t> values;
  for (const std::string& name : kernel.loops.sizes) values.push_back(sizes.find(name)->second);
  SlotCount sum;
  for (size_t i = 0; i < kernel.loops.stages.size(); ++i) {
    const loop::Stage& stage = kernel.loops.stages[i];
    const int64_t tasks = loop::evaluate(stage.tasks, {}, values);
    const cuda_emit::NestRuns runs = kernel.nests[i].count(stage.task, tasks / 2, values);
    const MachineFunction& function = function_of(functions, cuda_emit::stage_symbol(kernel.loops, i));
    sum += cuda::count_slots(function, kernel.nests[i], runs, cuda::first_line_of_text()) *
           (static_cast<double>(tasks) * threads_of(kernel.loops, stage));
  }
  return sum;
}

std::vector<SlotCount> counts_of(const CudaKernels& kernels, const CodeReader& reader, const Bindings& sizes) {
  const std::vector<CudaKernel>& all = kernels.all();
  std::vector<SlotCount> counts(all.size());
  for_each_in_parallel(all.size(),
                       [&](size_t i) { counts[i] = launch_count(all[i], reader.read(all[i]), sizes); });
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
