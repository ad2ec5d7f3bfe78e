// The check behind every device test: a graph compiled and run, against the float64 evaluator.
#pragma once

#include <functional>
#include <string>

#include "passes/fuse.h"
#include "runtime/cpu_program.h"
#include "tests/random_values.h"

namespace mambac::test {

struct CheckOptions {
  double relative = 6e-4;  // docs/design.md: the bars of the hand-written kernels
  double absolute = 2e-3;
  bool bounds = true;      // interpret the kernels first, to see that no access leaves its buffer; for small shapes
  FuseOptions fuse{};
  CpuProgram::Scheduler schedule{};  // empty: the default schedules
};

/// Runs the graph on the CPU. Output memory is filled with NaN first, and so is everything between.
Arrays run_on_cpu(const CpuProgram& program, const Bindings& bindings, const Arrays& values);

/// Fuses, compiles, runs and compares every output. Empty when they agree; otherwise the worst output with its
/// difference in units of the tolerance.
std::string check_on_cpu(const Graph& graph, const Bindings& bindings, const Arrays& values,
                         const CheckOptions& options = {});

}  // namespace mambac::test
