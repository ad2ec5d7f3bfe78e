// One kernel by itself on a device, under one schedule after another: its results against the reference, its times.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ir/eval.h"
#include "runtime/program.h"
#include "tools/port_memory.h"

namespace mambac::tools {

/// What is asked of a kernel, once for all its schedules: what goes in, and what must come out.
///
/// Results are held against the reference evaluator at small sizes of the free dimensions (unless fixed ones alone make
/// values of millions), and at the sizes that are timed, where that would take hours, against those of the device's own
/// schedule, in samples. An output element may differ by so much of its
/// value and so much of the root mean square of its output: the tolerances of docs/design.md for the narrowest type that
/// the kernel keeps in memory.
class KernelTask {
 public:
  /// `alone`: kernel_alone(..., Stored::in_memory). `constant_parameters` as in ExecutableOptions.
  KernelTask(Graph alone, Bindings sizes, Device& device, bool constant_parameters);

  const Graph& graph() const { return alone_; }
  const Bindings& sizes() const { return sizes_; }
  Device& device() const { return device_; }
  /// Of a product by a library: how many it has at these sizes; 0 of other kernels.
  int algorithms() const { return algorithms_; }

 private:
  friend class KernelTrial;
  struct Sample {
    std::string output;
    DType dtype = DType::f32;
    int64_t first = 0, count = 0;  // elements
    std::vector<double> values;
  };
  void evaluate_reference();
  void count_algorithms();
  void fill(const Executable& executable);
  void choose_samples(const Executable& executable);
  void evict();

  Graph alone_;
  Bindings sizes_, small_sizes_;
  Device& device_;
  ExecutableOptions options_;
  Arrays small_inputs_, small_outputs_;  // the outputs as they lie in memory
  PortMemory memory_;             // at the sizes that are timed
  int algorithms_ = 0;
  bool evaluated_ = false, filled_ = false, cold_ = false;
  std::vector<Sample> samples_;   // of the schedule that was checked first
  std::vector<char> evictor_;     // read to put other memory into the cache
};

/// The kernel under one schedule, compiled.
class KernelTrial {
 public:
  /// Failures are those of lowering and compilation.
  KernelTrial(KernelTask& task, const Schedule& schedule);

  /// The largest error of its results in units of what is tolerated; above 1, or not a number, they are wrong. The first
  /// trial of a task must be that of the device's own schedule, which the others are then compared with.
  double error();

  /// Seconds of a launch, measured over a millisecond or more.
  double seconds();

 private:
  double small_error() const;
  double sample_error();

  KernelTask& task_;
  Schedule schedule_;
  Program program_;
  std::unique_ptr<Executable> executable_;
};

/// The same kernels compiled at once, on all cores: trials of these schedules then find them.
void compile_ahead(KernelTask& task, const std::vector<Schedule>& schedules);

}  // namespace mambac::tools
