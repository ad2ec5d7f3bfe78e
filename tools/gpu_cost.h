// What the kernels of a graph cost on an NVIDIA GPU, from their machine code: no GPU is needed.
#pragma once

#include <string>
#include <vector>

#include "runtime/cuda/issue_slots.h"
#include "runtime/cuda/machine_code.h"
#include "tools/arguments.h"
#include "tools/cuda_kernels.h"
#include "tools/gpus.h"
#include "tools/kernel_work.h"

namespace mambac::tools {

/// Launches of one kernel that do the same.
struct GpuKernelCost {
  std::string name;
  int launches = 0;
  bool library = false;
  double exponentials = 0;  // of the op table
  double updates = 0;       // elements of the largest scan in it
  GpuWork work;             // of one launch
};

struct GpuCost {
  std::string architecture;
  std::string counted_in;              // "SASS", as nvdisasm shows it, or "PTX" where there is none
  std::string reader;                  // the path of nvdisasm, if any
  std::vector<GpuKernelCost> kernels;  // in the order of their first launch
};

/// Kernels of a fused graph in machine code.
struct CountedKernels {
  std::string counted_in, reader;  // as in GpuCost
  CudaKernels kernels;
  std::vector<cuda::SlotCount> slots;  // of one launch of each
  std::vector<int> numbers;            // of each of the graph's kernels, its place among these; -1: not among them
};

/// Compiles the chosen kernels of the graph with line tables, through the cache on disk, and counts in their machine
/// code. Failures are those of compile_all and disassemble.
CountedKernels count_kernels(const Graph& fused, GraphKind kind, const std::vector<int>& chosen, const Bindings& sizes,
                             const std::string& architecture, const Program::Scheduler& schedule);

/// The machine code of one of these kernels, in the language of `counted_in`, with lines of the kernel's text behind
/// cuda::first_line_of_text() - 1 others. Failures are those of disassemble.
std::vector<cuda::CodeLine> machine_lines(const CudaKernel& kernel, const std::string& architecture);

/// Of one launch of kernel `number` of the graph, whose work that is.
GpuKernelCost kernel_cost(const CountedKernels& counted, size_t number, const KernelWork& work);

/// Compiles the graph's kernels with line tables, through the cache on disk, and counts in their machine code. Failures
/// are those of compile_all and disassemble.
GpuCost gpu_cost(const Graph& fused, GraphKind kind, const Bindings& sizes, const std::string& architecture,
                 const Program::Scheduler& schedule = default_gpu_schedule);

void print_gpu_cost(const GpuCost& cost, const std::vector<Gpu>& gpus);
Json gpu_cost_json(const GpuCost& cost, const std::vector<Gpu>& gpus);

}  // namespace mambac::tools
