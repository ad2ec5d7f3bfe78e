// The check behind every device test: a graph compiled and run, against the float64 evaluator.
#pragma once

#include <functional>
#include <string>

#include "passes/fuse.h"
#include "runtime/program.h"
#include "tests/random_values.h"

namespace mambac::test {

struct CheckOptions {
  double relative = 6e-4;  // docs/design.md: the bars of the hand-written kernels
  double absolute = 2e-3;
  /// On the CPU, interpret the kernels first, to see that no access leaves its buffer; for small shapes.
  bool bounds = true;
  FuseOptions fuse{};
  Program::Scheduler schedule{};  // empty: the device's own
  Device* device = nullptr;       // null: test_device()
};

/// A GPU that is not there; accesses of threads and of blocks are compared. Kernels run with five orders of threads.
Device& emulated_device();

/// The device that tests run on: $MAMBAC_TEST_DEVICE, cpu (the default), cuda-emulated, or cuda, the first GPU;
/// cuda=PATH: the one that a library answers for which stands for all of CUDA's (tests/fake_cuda.h).
Device& test_device();

/// For many graphs on the CPU: its own schedules, but that steps are not written out and tiles are short, and code that
/// is not optimised, so that there is less to compile. On other devices theirs.
CheckOptions quick_check();

/// An executable with memory of its device for inputs and outputs, which is filled with NaN before the first run.
class CpuSession {
 public:
  CpuSession(const Program& program, const Bindings& bindings);
  /// Values by the names of inputs and parameters of the graph (not their names in checkpoints).
  Arrays run(const Arrays& values);

 private:
  const Program& program_;
  std::unique_ptr<Executable> executable_;
  struct PortMemory {
    std::unique_ptr<DeviceMemory> device;
    std::vector<char> host;
  };
  std::vector<PortMemory> inputs_, outputs_;
};

/// Runs the graph twice; the outputs of the second run.
Arrays run_on_cpu(const Program& program, const Bindings& bindings, const Arrays& values);

/// Compiles, runs and compares every output of a fused graph. Empty when they agree; otherwise the outputs that do not,
/// with their differences in units of the tolerance.
std::string compare_on_cpu(Graph fused, const Bindings& bindings, const Arrays& values, const Arrays& expected,
                           const CheckOptions& options = {});

/// Fuses the graph first and evaluates what is expected, of the graph as it is and, in float64, as it is fused.
std::string check_on_cpu(const Graph& graph, const Bindings& bindings, const Arrays& values,
                         const CheckOptions& options = {});

}  // namespace mambac::test
