// The generated kernels of a model's graphs as they are for an NVIDIA GPU, and their machine code. No GPU is needed.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "codegen/machine/nest.h"
#include "codegen/lower.h"
#include "frontend/model.h"
#include "passes/pipeline.h"
#include "runtime/cuda/nvrtc.h"
#include "runtime/program.h"

namespace mambac::tools {

/// "sm_90" of "cuda:sm_90". InputError for any other form; whether it exists is for NVRTC to say.
std::string architecture_named(const std::string& device);

/// What options_for gives, for a GPU.
PipelineOptions for_gpu(PipelineOptions options);

/// The graph of this kind as the passes leave it for a GPU.
Graph graph_for_gpu(const Model& model, GraphKind kind, DType storage, const Bindings& sizes);

/// A kernel that one or more launches of one or more graphs share: equal text is compiled once.
struct CudaKernel {
  std::string name;  // unique among these
  loop::Kernel loops;
  std::string text;                    // by cuda_emit::emit
  std::vector<machine::Nest> nests;    // of each stage
  std::map<GraphKind, int> launches;   // in each graph
  cuda::Compilation code{};            // by compile_all
};

/// Collects kernels, in the order of their first launch.
class CudaKernels {
 public:
  explicit CudaKernels(Program::Scheduler schedule = default_gpu_schedule) : schedule_(std::move(schedule)) {}

  /// For each of graph.kernels the index of its kernel; -1 for library calls.
  std::vector<int> add(const Graph& fused, GraphKind kind);
  /// The same, and -1 for all but the chosen kernels of the graph.
  std::vector<int> add(const Graph& fused, GraphKind kind, const std::vector<int>& chosen);
  std::vector<CudaKernel>& all() { return kernels_; }
  const std::vector<CudaKernel>& all() const { return kernels_; }

 private:
  Program::Scheduler schedule_;
  std::vector<CudaKernel> kernels_;
  std::map<std::string, int> by_text_;
};

/// What the assembler says of one stage, by its symbol. InternalError when it does not name it.
const cuda::KernelUse& use_of(const CudaKernel& kernel, const std::string& symbol);

struct CompileSummary {
  double seconds = 0;
  int64_t from_cache = 0;  // kernels that were not compiled, but found in the cache on disk
};

/// The option of NVRTC that has machine code say which lines it comes from; the code itself is the same.
inline const std::vector<std::string> kLineTables{"-lineinfo"};

/// Compiles all kernels, as many at a time as there are processors to use, and shows how far it has come. Failures are
/// those of Nvrtc::instance and Nvrtc::compile, of the first kernel that fails.
CompileSummary compile_all(CudaKernels& kernels, const std::string& architecture,
                           const std::vector<std::string>& options = {});

}  // namespace mambac::tools
