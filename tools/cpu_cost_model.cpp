#include "tools/cpu_cost_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "codegen/llvm_jit.h"
#include "codegen/machine/instruction_runs.h"
#include "ir/error.h"
#include "passes/kernel_alone.h"
#include "runtime/parallel.h"
#include "tools/cache_lines.h"
#include "tools/kernel_work.h"
#include "tools/memory_accesses.h"
#include "tools/processor_clocks.h"
#include "tools/roofline.h"

namespace mambac::tools {
namespace {

/// Of the L2 cache, what keeps to what a kernel comes to again: the rest is taken by what just passes through. Fitted
/// to a loss over 50,280 columns on a Zen 4 that kept three arrays of each row: 0.96 of the cache with the row itself.
constexpr double kOfL2 = 0.75;
/// Of the time until a line comes, what other work does not hide. Fitted to walks and norms on a Zen 4.
constexpr double kUnhidden = 0.7;
/// Until a line is back that a prefetcher has taken from another thread. Fitted to walks on a Zen 4 with two threads.
constexpr double kTakenClocks = 150;
/// Of a thread: then it matters which of them takes which.
constexpr int64_t kFewTasks = 8;

/// Of what goes on at once: little more than the longest one. Fitted to norms on a Zen 4.
double overlapped(double a, double b, double c) {
  return std::pow(std::pow(a, 4) + std::pow(b, 4) + std::pow(c, 4), 0.25);
}

/// As a mistake of the description's.
template <class Work>
auto with_description(const Cpu& cpu, const Work& work) {
  try {
    return work();
  } catch (const InputError& failure) {
    throw InputError(fmt::format("the device description '{}': architecture: {}", cpu.name, failure.what()));
  }
}

class CpuCostModel : public CostModel {
 public:
  explicit CpuCostModel(Cpu cpu)
      : cpu_(std::move(cpu)), jit_(with_description(cpu_, [&] { return std::make_unique<Jit>(cpu_.processor); })) {}

  DeviceKind kind() const override { return DeviceKind::cpu; }
  const std::string& name() const override { return cpu_.name; }
  Schedule heuristic(const Graph& fused, int number) const override {
    const int width = jit_->native_width();
    return default_schedule(fused, number, {width, cpu_.pipe_lanes < width});
  }

  std::vector<Prediction> times(const Graph& fused, int number, const std::vector<Schedule>& schedules,
                                const Bindings& sizes) override {
    const Graph alone = kernel_alone(fused, number, Stored::in_memory);
    const KernelWork work = kernel_work(alone, sizes).front();
    const Source source = source_of(work, parameter_bytes(alone, sizes));
    if (work.library) return std::vector(schedules.size(), of_library(work, source));
    const Layouts layouts(alone);
    std::vector<Prediction> found(schedules.size());
    for_each_in_parallel(schedules.size(), [&](size_t i) {
      found[i] = of_kernel(lower(alone, layouts, 0, schedules[i], DeviceKind::cpu).kernel, sizes, work, source);
    });
    return found;
  }

 private:
  /// From where a kernel's memory comes.
  struct Source {
    double bytes_per_second, line_clocks;
  };

  /// The L2 caches if they have room for all that it reads and writes, else each cache for what that keeps, and memory.
  Source source_of(const KernelWork& work, double parameters) const {
    const double bytes = work.bytes(), l2_bytes = cpu_.threads * cpu_.l2_bytes;
    const double l2_bytes_per_second = cpu_.threads * cpu_.l2_bytes_per_second;
    const bool cold = parameters >= kColdParameterBytes;
    if (!cold && bytes <= l2_bytes) return {l2_bytes_per_second, 0};
    const double far = cold ? 1 : 1 - std::min(1.0, cpu_.l3_bytes / bytes);
    const double near = cold ? 0 : std::min(1 - far, kOfL2 * l2_bytes / bytes);
    return {1 / (near / l2_bytes_per_second + (1 - far - near) / cpu_.l3_bytes_per_second + far / cpu_.bytes_per_second),
            (1 - far) * cpu_.l3_line_clocks + far * cpu_.line_clocks};
  }

  /// Of a line that comes from the L2 cache in order with others.
  double swept_clocks() const { return kLineBytes * cpu_.clock / cpu_.l2_bytes_per_second; }

  Prediction of_library(const KernelWork& work, const Source& source) const {
    Prediction found;
    found.bytes = work.bytes();
    found.exponentials = work.exponentials;
    found.use = 1;
    std::vector<ResourceTime> times{{work.bytes() / source.bytes_per_second, "bytes"}};
    if (work.product) {
      const double each = work.product->a == DType::f32 ? cpu_.multiply_adds : cpu_.narrow_multiply_adds;
      times.push_back({work.flops / (2 * each * cpu_.threads * cpu_.clock), "products"});
    }
    const ResourceTime& time = longest(times);
    found.seconds = time.seconds + cpu_.launch_seconds;
    found.bound = time.resource;
    return found;
  }

  struct StageClocks {
    double clocks = 0;        // in the pipes, of the thread that has the most to do
    double waits = 0;         // clocks of that thread, for lines
    double instructions = 0;  // of all
    double again = 0;         // seconds for what has left the L2 cache before it is come to again
    int64_t tasks = 0;

    double busy() const { return clocks + waits; }
    void add(const StageClocks& more, double times) {
      clocks += more.clocks * times;
      waits += more.waits * times;
      instructions += more.instructions * times;
      again += more.again * times;
    }
  };

  Prediction of_kernel(const loop::Kernel& kernel, const Bindings& sizes, const KernelWork& work,
                       const Source& source) const {
    const auto code = with_description(cpu_, [&] { return jit_->processor_code(kernel); });
    std::vector<int64_t> values;
    for (const std::string& name : kernel.sizes) values.push_back(sizes.find(name)->second);
    Prediction found;
    found.bytes = work.bytes();
    found.exponentials = work.exponentials;
    StageClocks all;
    int64_t most = 0;  // tasks of a stage
    for (size_t i = 0; i < kernel.stages.size(); ++i) {
      const StageClocks stage = of_stage(kernel, *code, i, values, source.line_clocks);
      all.add(stage, 1);
      most = std::max(most, stage.tasks);
    }
    found.slots = all.instructions;
    const double issued = found.slots / (cpu_.threads * code->issue_width() * cpu_.clock);
    const double pipes = all.clocks / cpu_.clock, waits = all.waits / cpu_.clock;
    const double memory = work.bytes() / source.bytes_per_second;
    const double launch = most > 1 ? cpu_.launch_seconds : 0;  // one task has no need of other threads
    found.seconds = overlapped(pipes, memory, all.again) + waits + launch;
    found.use = std::min(1.0, issued / found.seconds);
    found.bound = longest({{std::max(memory, all.again), "bytes"},
                           {pipes, issued > kBusy * pipes ? "issue" : "pipes"},
                           {waits, "lines"},
                           {launch, "launch"}})
                      .resource;
    return found;
  }

  /// Threads take one task after the other. Of many, some stand for all.
  StageClocks of_stage(const loop::Kernel& kernel, const ProcessorCode& code, size_t number,
                       const std::vector<int64_t>& sizes, double late_clocks) const {
    const ProcessorCode::Stage& made = code.stages()[number];
    const loop::Stage& stage = kernel.stages[number];
    const int64_t tasks = loop::evaluate(stage.tasks, {}, sizes);
    const int64_t neighbours = (tasks + cpu_.threads - 1) / cpu_.threads;  // a thread's share (runtime/task_shares.h)
    const NearMemory near{.l1_bytes = cpu_.l1_bytes,
                          .l2_bytes = kOfL2 * cpu_.l2_bytes,
                          .l3_bytes = cpu_.l3_bytes / cpu_.threads,
                          .stride_bytes = cpu_.stride_bytes};
    std::map<std::vector<double>, StageClocks> known;  // tasks that do the same take as long
    const auto of_task = [&](int64_t task) {
      const machine::NestRuns nest = made.nest.count(stage.task, task, sizes);
      const std::vector<double> runs = machine::instruction_runs(made.function, made.nest, nest, 1);
      const auto found = known.find(runs);
      if (found != known.end()) return found->second;
      const ProcessorClocks clocks = processor_clocks(code, number, runs, neighbours);
      const MemoryAccesses accesses(kernel, stage, task, neighbours, sizes);
      const LateLines late = late_lines(accesses, near);
      const double waits = kUnhidden * (late_clocks * late.unforeseen + cpu_.l2_line_clocks * late.again +
                                        swept_clocks() * late.swept) +
                           (cpu_.threads > 1 ? kTakenClocks * late.taken : 0);
      const double again =
          kLineBytes * (late.from_l3 / cpu_.l3_bytes_per_second + late.from_memory / cpu_.bytes_per_second);
      return known[runs] = {clocks.clocks + halved_stores(made, runs, accesses), waits, clocks.instructions, again, 1};
    };
    StageClocks found{.tasks = tasks};
    if (const int64_t few = kFewTasks * cpu_.threads; tasks > few) {
      for (int64_t i = 0; i < few; ++i)
        found.add(of_task((2 * i + 1) * tasks / (2 * few)), static_cast<double>(tasks) / static_cast<double>(few));
      found.clocks /= cpu_.threads;
      found.waits /= cpu_.threads;
      return found;
    }
    std::vector<StageClocks> threads(static_cast<size_t>(cpu_.threads));
    for (int64_t task = 0; task < tasks; ++task)
      std::ranges::min_element(threads, {}, &StageClocks::busy)->add(of_task(task), 1);
    for (const StageClocks& one : threads) found.add(one, 1);
    const StageClocks& most = *std::ranges::max_element(threads, {}, &StageClocks::busy);
    found.clocks = most.clocks;
    found.waits = most.waits;
    return found;
  }

  /// Of a task, those in arrays and on the stack that are wider than the pipes and take two clocks for that, of which
  /// LLVM's models count one. They come one after the other; those in buffers have what is computed between them.
  double halved_stores(const ProcessorCode::Stage& made, const std::vector<double>& runs,
                       const MemoryAccesses& accesses) const {
    const double bits = 32 * cpu_.pipe_lanes;
    double all = 0, in_buffers = 0;
    for (size_t i = 0; i < runs.size(); ++i)
      if (made.stored_bits[i] > bits) all += runs[i];
    for (const MemoryAccess& one : accesses.all())
      if (one.stores && !one.of_array && 8 * one.bytes > bits)
        in_buffers += one.times / static_cast<double>(accesses.neighbours());
    return std::max(0.0, all - in_buffers);
  }

  const Cpu cpu_;
  const std::unique_ptr<const Jit> jit_;
};

}  // namespace

std::unique_ptr<CostModel> cpu_cost_model(Cpu cpu) {
  return std::make_unique<CpuCostModel>(std::move(cpu));
}

}  // namespace mambac::tools
