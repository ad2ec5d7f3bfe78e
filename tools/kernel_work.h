// What the kernels of a fused graph have to do at given sizes, whatever their code: the measure of bench and cost.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "runtime/gemm.h"

namespace mambac::tools {

struct KernelWork {
  std::string name;
  bool library = false;
  double flops = 0;          // of the op table, those of exponentials left out
  double exponentials = 0;   // exp, log and their like
  double bytes_read = 0;     // values in memory that the kernel reads, each element once
  double bytes_written = 0;  // values that it leaves in memory, each element once
  std::optional<MatmulShape> product;  // of a library kernel that is a matrix product
  bool weight = false;                 // its B is a parameter, which can be packed beforehand

  double bytes() const { return bytes_read + bytes_written; }
};

/// One for each of fused.kernels.
std::vector<KernelWork> kernel_work(const Graph& fused, const Bindings& sizes);

/// Parameters of so many bytes come from memory: a step reads all others before it comes to them again. Activations are
/// in a cache when they were just made.
constexpr double kColdParameterBytes = 1 << 18;

/// Bytes of all parameters of a graph.
double parameter_bytes(const Graph& graph, const Bindings& sizes);

}  // namespace mambac::tools
