// What the kernels of a graph cost on an NVIDIA GPU, from their machine code: no GPU is needed.
#pragma once

#include <string>
#include <vector>

#include "tools/arguments.h"
#include "tools/cuda_kernels.h"
#include "tools/gpus.h"

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

/// Compiles the graph's kernels with line tables, through the cache on disk, and counts in their machine code. Failures
/// are those of compile_all and disassemble.
GpuCost gpu_cost(const Graph& fused, GraphKind kind, const Bindings& sizes, const std::string& architecture,
                 const Program::Scheduler& schedule = default_gpu_schedule);

void print_gpu_cost(const GpuCost& cost, const std::vector<Gpu>& gpus);
Json gpu_cost_json(const GpuCost& cost, const std::vector<Gpu>& gpus);

}  // namespace mambac::tools
