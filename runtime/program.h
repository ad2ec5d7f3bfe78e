// A fused graph compiled for a device, its sizes still free.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "codegen/lower.h"
#include "ir/graph.h"
#include "ir/trace.h"
#include "runtime/cpu_device.h"
#include "runtime/device.h"
#include "runtime/executable.h"

namespace mambac {

struct ExecutableOptions {
  /// Parameters keep their values from one bind of them to the next: products with them keep a copy in the layout that
  /// the library likes best, and what is computed from parameters alone is computed once.
  bool constant_parameters = false;
  /// A library product without the algorithm of its schedule takes the first choice instead of an InputError: where
  /// nobody asked for that algorithm, but a record did.
  bool first_choice_instead = false;
  /// What a trace says of the kernels, by number; empty: their names.
  std::vector<const trace::Label*> labels{};
};

class Program {
 public:
  /// Chooses the schedule of a kernel of the fused graph; library kernels have one, too.
  using Scheduler = std::function<Schedule(const Graph& fused, int number)>;

  /// Lowers and compiles every kernel; kernels with equal code are compiled once. `scheduler` empty: the default
  /// schedules of the device, which must outlive the program.
  explicit Program(Graph fused, const Scheduler& scheduler = {}, Device& device = cpu_device());

  /// An executable for these sizes of the free dimensions. InputError when one is missing or a size overflows;
  /// EnvironmentError when the memory for the arena is not to be had. The program must outlive it.
  std::unique_ptr<Executable> instantiate(const Bindings& bindings, const ExecutableOptions& options = {}) const;

  Device& device() const { return device_; }
  const Graph& graph() const { return fused_; }
  const std::vector<LoweredKernel>& lowered() const { return lowered_; }  // see lower_all
  const Schedule& schedule(size_t kernel) const { return lowered_[kernel].kernel.schedule; }
  const std::vector<std::shared_ptr<const DeviceKernel>>& compiled() const { return compiled_; }
  const Layouts& layouts() const { return layouts_; }

 private:
  Device& device_;
  Graph fused_;
  Layouts layouts_;
  std::vector<LoweredKernel> lowered_;
  std::vector<std::shared_ptr<const DeviceKernel>> compiled_;
};

/// The default schedules of a device, which must outlive them.
Program::Scheduler schedules_of(const Device& device);

/// All kernels of a fused graph, lowered; of library kernels there is the schedule and nothing else. InternalError when
/// a schedule is illegal.
std::vector<LoweredKernel> lower_all(const Graph& fused, const Layouts& layouts, DeviceKind kind,
                                     const Program::Scheduler& scheduler);

/// Bytes of the arena that the plan needs at these sizes, without binding or compiling anything.
int64_t planned_arena_bytes(const Graph& fused, DeviceKind kind, const Program::Scheduler& scheduler,
                            const Bindings& bindings, bool constant_parameters);

}  // namespace mambac
