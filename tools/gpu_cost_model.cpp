#include "tools/gpu_cost_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "passes/kernel_alone.h"
#include "runtime/parallel.h"
#include "tools/code_reader.h"
#include "tools/cuda_kernels.h"
#include "tools/kernel_work.h"
#include "tools/occupancy.h"
#include "tools/warp_timing.h"

namespace mambac::tools {
namespace {

// Of what data sheets promise, as measured on an H200 (docs/cuda.md): products took 0.37 ms where 0.278 is the least, and
// 0.74 where 0.556 is.
constexpr double kOfProducts = 0.75;
/// Values that take less of the L2 cache are still there when the kernel behind their producer reads them.
constexpr double kOfL2 = 0.5;
/// That the GPU starts: 65,536 blocks of a warp took 41 us there.
constexpr double kBlocksPerClock = 0.8;
/// Fewer waves of blocks end together, and the last one takes as long as the others.
constexpr double kFewWaves = 6;

/// What a kernel does whatever its schedule, in a launch.
struct LaunchWork {
  double bytes = 0;       // each element once
  double parameters = 0;  // of these, those of parameters
};

/// Of a stage.
struct Traffic {
  double memory = 0;    // bytes that come from memory, or go there
  double accessed = 0;  // bytes that threads load and store
  bool in_l2 = false;   // most of what is loaded
};

class GpuCostModel : public CostModel {
 public:
  explicit GpuCostModel(Gpu gpu) : gpu_(std::move(gpu)) {}

  DeviceKind kind() const override { return DeviceKind::gpu; }
  const std::string& name() const override { return gpu_.name; }
  Schedule heuristic(const Graph& fused, int number) const override { return default_gpu_schedule(fused, number); }

  std::vector<Prediction> times(const Graph& fused, int number, const std::vector<Schedule>& schedules,
                                const Bindings& sizes) override {
    const Graph alone = kernel_alone(fused, number, Stored::in_memory);
    const KernelWork work = kernel_work(alone, sizes).front();
    if (work.library) return std::vector(schedules.size(), of_library(work));
    size_t next = 0;
    CudaKernels kernels([&](const Graph&, int) { return schedules[next]; });
    std::vector<int> places;
    for (; next < schedules.size(); ++next)
      places.push_back(kernels.add(fused, GraphKind::eval, {number})[static_cast<size_t>(number)]);
    compile_all(kernels, gpu_.architecture, kLineTables);
    const CodeReader reader(gpu_.architecture);
    std::vector<Prediction> found(kernels.all().size());
    for_each_in_parallel(found.size(), [&](size_t i) {
      found[i] = of_kernel(kernels.all()[i], reader, sizes, {work.bytes(), parameter_bytes(alone, sizes)});
    });
    std::vector<Prediction> predictions;
    for (const int place : places) predictions.push_back(found[static_cast<size_t>(place)]);
    return predictions;
  }

 private:
  double memory_seconds(double bytes) const { return bytes / (kOfBandwidth * gpu_.bytes_per_second); }

  Prediction of_library(const KernelWork& work) const {
    Prediction found;
    found.bytes = work.bytes();
    found.exponentials = work.exponentials;
    found.use = 1;
    std::vector<ResourceTime> times{{memory_seconds(work.bytes()), "bytes"}};
    if (work.product)
      times.push_back({work.flops / (kOfProducts * gpu_.product_flops_per_second(*work.product)), "products"});
    const ResourceTime& time = longest(times);
    found.seconds = time.seconds + gpu_.launch_seconds;
    found.bound = time.resource;
    return found;
  }

  Prediction of_kernel(const CudaKernel& kernel, const CodeReader& reader, const Bindings& sizes,
                       const LaunchWork& work) const {
    const std::vector<machine::Function> functions = reader.read(kernel, true);
    const std::vector<StageRuns> stages = stage_runs(kernel, functions, sizes);
    Prediction found;
    found.bytes = work.bytes;
    double longest_stage = -1, memory = 0;
    for (size_t i = 0; i < stages.size(); ++i) {
      const StageRuns& stage = stages[i];
      const WarpProgram program = warp_program(*stage.function, stage.runs);
      const Traffic traffic = traffic_of(stage, program, work, kernel.loops.schedule);
      const Occupancy occupancy = occupancy_of(gpu_, use_of(kernel, stage.symbol), stage.threads);
      const double seconds =
          stage_seconds(stage, program, occupancy.blocks, load_of(stage, kernel.loops.stages[i].pieces, traffic));
      found.seconds += seconds + (kernel.loops.schedule.begins_early ? 0 : gpu_.launch_seconds);
      found.slots += stage.slots.slots;
      found.exponentials += stage.slots.special;
      memory += traffic.memory;
      if (seconds > longest_stage) found.use = occupancy.share;
      longest_stage = std::max(longest_stage, seconds);
    }
    // Of PTX it is not known what threads access.
    add_bound(found, std::max(memory, memory_bytes(work.bytes, work)));
    return found;
  }

  /// What others left is in the L2 cache, if that has room for all of it; parameters were read a whole pass ago.
  double memory_bytes(double bytes, const LaunchWork& work) const {
    return bytes > kOfL2 * gpu_.l2_bytes ? bytes : std::min(bytes, work.parameters);
  }

  /// A stage accesses what the kernel reads and writes, once or more often, or what a stage before it left.
  Traffic traffic_of(const StageRuns& stage, const WarpProgram& program, const LaunchWork& work,
                     const Schedule& schedule) const {
    Traffic traffic;
    traffic.accessed = static_cast<double>(stage.blocks) * stage.threads * program.global_bytes;
    traffic.memory = memory_bytes(std::min(traffic.accessed, work.bytes), work);
    traffic.in_l2 = schedule.begins_early || 10 * traffic.memory < traffic.accessed;
    return traffic;
  }

  /// Of a multiprocessor with one block.
  WarpLoad load_of(const StageRuns& stage, int rows, const Traffic& traffic) const {
    const auto active = static_cast<double>(std::min<int64_t>(stage.blocks, gpu_.multiprocessors));
    const double seconds = std::max(memory_seconds(traffic.memory), traffic.accessed / gpu_.l2_bytes_per_second);
    WarpLoad load;
    load.warps = load.together = of_scheduler(warps_of(stage));
    load.rows = rows;
    load.in_l2 = traffic.in_l2;
    if (seconds > 0) load.bytes_per_clock = traffic.accessed / seconds / gpu_.clock / (active * gpu_.warps_issued);
    return load;
  }

  /// With so many blocks at once as fit into a multiprocessor, or as there are for each.
  double stage_seconds(const StageRuns& stage, const WarpProgram& program, int fitting, WarpLoad load) const {
    if (stage.blocks == 0) return 0;
    if (fitting == 0) return std::numeric_limits<double>::infinity();
    const int64_t each = (stage.blocks + gpu_.multiprocessors - 1) / gpu_.multiprocessors;
    load.warps = of_scheduler(warps_of(stage) * static_cast<int>(std::min<int64_t>(each, fitting)));
    const double waves = static_cast<double>(stage.blocks) / fitting / gpu_.multiprocessors;
    load.blocks = waves < kFewWaves ? std::ceil(waves) : waves;
    const double starts = static_cast<double>(stage.blocks) / kBlocksPerClock;
    return std::max(starts, warp_clocks(gpu_, program, load)) / gpu_.clock;
  }

  static int warps_of(const StageRuns& stage) { return (stage.threads + kLanesOfWarp - 1) / kLanesOfWarp; }
  int of_scheduler(int warps) const { return (warps + gpu_.warps_issued - 1) / gpu_.warps_issued; }

  void add_bound(Prediction& found, double memory) const {
    const std::vector<ResourceTime> times{{memory_seconds(memory), "bytes"},
                                          {found.exponentials / gpu_.specials_per_second(), "exponentials"},
                                          {found.slots / gpu_.slots_per_second(), "issue"}};
    const ResourceTime& time = longest(times);
    found.bound = time.seconds > kBusy * found.seconds ? time.resource : "latency";
    found.seconds = std::max(found.seconds, time.seconds);
  }

  Gpu gpu_;
};

}  // namespace

std::unique_ptr<CostModel> gpu_cost_model(Gpu gpu) {
  return std::make_unique<GpuCostModel>(std::move(gpu));
}

}  // namespace mambac::tools
