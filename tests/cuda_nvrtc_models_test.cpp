// Every generated kernel of two whole models through NVRTC, where there is one. Forward scans keep everything in
// registers; what other kernels spill is printed, and listed in docs/cuda.md.
//
// All kernels are compiled for sm_90, those with a scan also for the oldest and the newest one. MAMBAC_NVRTC_ALL=1: all
// kernels for every architecture, which takes minutes.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <set>

#include "codegen/cuda/cuda_emit.h"
#include "codegen/cuda/device_header.h"
#include "codegen/lower.h"
#include "runtime/cuda/libraries.h"
#include "runtime/cuda/nvrtc.h"
#include "tests/nvrtc_support.h"
#include "tests/temporary_folder.h"
#include "tools/compile.h"
#include "tools/cuda_kernels.h"
#include "tools/gpu_cost.h"
#include "tools/schedule_option.h"

namespace mambac::cuda {
namespace {

struct Generated {
  std::string text;              // after the device header
  std::set<std::string> graphs;  // "mambabyte:353m train bf16"
  int launches = 0;              // in all of them
  bool scan = false;             // with a recurrence of states
  bool forward = false;          // and none of a backward pass
};

/// By their loops: layers share kernels, and so do graphs.
using Kernels = std::map<std::string, Generated>;

void add_kernels(const std::string& model, GraphKind kind, DType storage, Kernels& kernels,
                 const Program::Scheduler& schedule = default_gpu_schedule) {
  const tools::Selection selection = tools::select_model(model, {});
  const Graph fused = tools::graph_for_gpu(selection.model, kind, storage, {{"B", 1}});
  const Layouts layouts(fused);
  for (int k = 0; k < static_cast<int>(fused.kernels.size()); ++k) {
    const KernelGroup& group = fused.kernels[static_cast<size_t>(k)];
    if (group.kind == KernelGroup::library) continue;
    const LoweredKernel lowered = lower(fused, layouts, k, schedule(fused, k), DeviceKind::gpu);
    Generated& made = kernels[loop::print(lowered.kernel)];
    made.graphs.insert(fmt::format("{} {} {}", model, name_of(kind), name_of(storage)));
    if (made.launches++ > 0) continue;
    made.text = cuda_emit::emit(lowered.kernel);
    for (const Node& node : fused.nodes())
      if (node.kernel == k && node.op == Op::Scan) made.scan = true;
    made.forward = made.scan && !group.reverse;
  }
}

Kernels all_kernels() {
  Kernels kernels;
  for (const char* model : {"mambabyte:353m", "mamba-lm:130m"})
    for (const GraphKind kind : {GraphKind::train, GraphKind::prefill, GraphKind::step})
      for (const DType storage : {DType::f32, DType::bf16}) add_kernels(model, kind, storage, kernels);
  return kernels;
}

struct Job {
  const Generated* kernel;
  int architecture;
  std::vector<KernelUse> report{};
  std::string failure{};
};

/// Compiles all of them, as many at a time as there are cores; the seconds it took.
double compile(const Nvrtc& nvrtc, std::vector<Job>& jobs) {
  const auto start = std::chrono::steady_clock::now();
#pragma omp parallel for schedule(dynamic)
  for (Job& job : jobs) {
    try {
      job.report = nvrtc
                       .compile({fmt::format("{}\n{}", cuda_device_header(), job.kernel->text),
                                 "k.cu",
                                 fmt::format("sm_{}", job.architecture),
                                 {}})
                       .kernels;
    } catch (const Failure& failure) {
      job.failure = failure.what();
    }
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// What kernels leave in local memory, a line for each and the architectures where it is so.
class LocalMemory {
 public:
  void add(const Job& job, const KernelUse& use) {
    lines_[fmt::format("{}: {} bytes, of which {} stored and {} loaded for want of registers ({})", use.name, use.stack,
                       use.spill_stores, use.spill_loads, fmt::join(job.kernel->graphs, ", "))]
        .insert(job.architecture);
  }
  void print() const {
    for (const auto& [line, architectures] : lines_)
      fmt::print("local memory: {} on sm_{}\n", line, fmt::join(architectures, ", "));
  }

 private:
  std::map<std::string, std::set<int>> lines_;
};

std::vector<int> architectures(const Nvrtc& nvrtc) {
  std::vector<int> wanted{75, 80, 86, 89, 90, 100, 103, 120};
  std::erase_if(wanted, [&](int a) {
    return std::find(nvrtc.architectures().begin(), nvrtc.architectures().end(), a) == nvrtc.architectures().end();
  });
  return wanted;
}

class ModelKernels : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = test::without_nvrtc(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

TEST_F(ModelKernels, CompileForAllArchitecturesAndForwardScansSpillNothing) {
  const Nvrtc& nvrtc = Nvrtc::instance();
  const bool everything = std::getenv("MAMBAC_NVRTC_ALL") != nullptr;
  const Kernels kernels = all_kernels();
  std::vector<Job> jobs;
  size_t scans = 0, forward = 0;
  for (const auto& [loops, kernel] : kernels) {
    scans += kernel.scan;
    forward += kernel.forward;
    for (const int architecture : architectures(nvrtc)) {
      const bool oldest_or_newest = architecture == 75 || architecture == 120;
      if (everything || architecture == 90 || (kernel.scan && oldest_or_newest))
        jobs.push_back({&kernel, architecture});
    }
  }
  const double seconds = compile(nvrtc, jobs);
  fmt::print("{} kernels, {} of them scans ({} forward); {} compilations in {:.1f} s on {} threads\n", kernels.size(),
             scans, forward, jobs.size(), seconds, omp_get_max_threads());
  // Of two models, in training a walk and one back, in two element types; steps and prefills scan, too.
  EXPECT_GE(forward, 8u);
  EXPECT_GE(scans - forward, 4u);
  LocalMemory local;
  for (const Job& job : jobs) {
    EXPECT_EQ(job.failure, "") << *job.kernel->graphs.begin() << "\n" << job.kernel->text;
    EXPECT_FALSE(job.report.empty()) << *job.kernel->graphs.begin();
    for (const KernelUse& use : job.report) {
      if (use.spill_stores + use.spill_loads + use.stack == 0) continue;
      local.add(job, use);
      EXPECT_FALSE(job.kernel->forward) << use.name << " sm_" << job.architecture << "\n" << job.kernel->text;
    }
  }
  local.print();
}

/// Kernels of a step that leave parts of a sum, or add them up. Norm, product and projection of a row, and the states of
/// a channel with all parts on their way, stay in registers.
std::vector<Generated> kernels_with_parts(const std::string& model, DType storage) {
  const tools::Selection selection = tools::select_model(model, {"layers=1"});
  const Graph fused = tools::graph_for_gpu(selection.model, GraphKind::step, storage, {{"B", 1}});
  const Layouts layouts(fused);
  std::vector<Generated> kernels;
  for (int k = 0; k < static_cast<int>(fused.kernels.size()); ++k)
    if (fused.kernels[static_cast<size_t>(k)].kind != KernelGroup::library && default_gpu_schedule(fused, k).teams > 1)
      kernels.push_back({cuda_emit::emit(lower(fused, layouts, k, default_gpu_schedule(fused, k), DeviceKind::gpu).kernel),
                         {fmt::format("{} step {}", model, name_of(storage))}});
  return kernels;
}

TEST_F(ModelKernels, OfAStepInPartsSpillNothing) {
  const bool everything = std::getenv("MAMBAC_NVRTC_ALL") != nullptr;
  std::vector<std::vector<Generated>> kernels;
  std::vector<Job> jobs;
  for (const char* model : {"mambabyte:353m", "mambabyte:972m", "mamba-lm:130m"})
    for (const DType storage : {DType::f32, DType::bf16}) {
      kernels.push_back(kernels_with_parts(model, storage));
      EXPECT_EQ(kernels.back().size(), 2u) << model;
    }
  for (size_t i = 0; i < kernels.size(); ++i)
    for (const Generated& kernel : kernels[i])
      for (const int architecture : {75, 80, 90})
        if (everything || architecture == 90 || i == 1) jobs.push_back({&kernel, architecture});
  compile(Nvrtc::instance(), jobs);
  for (const Job& job : jobs) {
    EXPECT_EQ(job.failure, "") << job.kernel->text;
    for (const KernelUse& use : job.report)
      EXPECT_EQ(use.spill_stores + use.spill_loads + use.stack, 0)
          << use.name << " of " << *job.kernel->graphs.begin() << " on sm_" << job.architecture;
  }
}

/// Scans of few channels, a warp for each, and scans whose staged values are copied ahead.
TEST_F(ModelKernels, OfOtherMappingsSpillNothing) {
  Kernels kernels;
  for (const char* setting : {"scan:pieces=1,time_lanes=32,tile=128", "scan:copies_ahead=2"})
    add_kernels("mambabyte:353m", GraphKind::prefill, DType::bf16, kernels,
                tools::ScheduleSettings(DeviceKind::gpu, default_gpu_schedule, {setting}).scheduler());
  std::vector<Job> jobs;
  for (const auto& [loops, kernel] : kernels)
    for (const int architecture : {75, 80, 90})
      if (kernel.scan) jobs.push_back({&kernel, architecture});
  EXPECT_EQ(jobs.size(), 6u);
  compile(Nvrtc::instance(), jobs);
  for (const Job& job : jobs) {
    EXPECT_EQ(job.failure, "") << job.kernel->text;
    for (const KernelUse& use : job.report) {
      fmt::print("{} for sm_{}: {} registers\n", use.name, job.architecture, use.registers);
      EXPECT_EQ(use.spill_stores + use.spill_loads + use.stack, 0) << use.name << "\n" << job.kernel->text;
    }
  }
}

/// What a user waits for before the first training step, without a cache.
TEST_F(ModelKernels, OfATrainingGraphAreFew) {
  Kernels kernels;
  add_kernels("mambabyte:353m", GraphKind::train, DType::bf16, kernels);
  std::vector<Job> jobs;
  int launches = 0;
  for (const auto& [loops, kernel] : kernels) {
    jobs.push_back({&kernel, 90});
    launches += kernel.launches;
  }
  const double seconds = compile(Nvrtc::instance(), jobs);
  fmt::print("mambabyte:353m train bf16: {} launches of {} kernels, compiled for sm_90 in {:.1f} s on {} threads\n",
             launches, kernels.size(), seconds, omp_get_max_threads());
  EXPECT_LE(kernels.size(), 32u);  // 53 layers share them
  EXPECT_GT(launches, 53 * 5);
}

struct SlotLimits {
  const char* setting;  // of the schedule
  double forward, backward;
};

/// Per state update, in what reads machine code here: SASS where there is nvdisasm, and PTX. A walk multiplies by dt,
/// takes an exponential, updates, and sums with C, so 5 are the least; a walk back has at least as much again, twice.
/// Lanes that share a channel exchange values.
void expect_few_slots(const tools::GpuCost& cost, const SlotLimits& limits) {
  int scans = 0;
  for (const tools::GpuKernelCost& kernel : cost.kernels) {
    if (kernel.updates == 0) continue;
    ++scans;
    const double slots = kernel.work.slots / kernel.updates, specials = kernel.work.specials / kernel.updates;
    const bool backward = kernel.name.find("_bwd_") != std::string::npos;
    fmt::print("{}, {}, in {}: {:.2f} issue slots per state update, {:.2f} of them MUFU\n", kernel.name, limits.setting,
               cost.counted_in, slots, specials);
    EXPECT_GT(slots, backward ? 15 : 5);
    EXPECT_LT(slots, backward ? limits.backward : limits.forward);
    EXPECT_GT(specials, 1);  // the decay's
    EXPECT_LT(specials, 1.6);
  }
  EXPECT_EQ(scans, 2);
}

TEST_F(ModelKernels, IssueFewInstructionsPerState) {
  const TemporaryFolder folder;
  setenv("MAMBAC_CACHE", (folder / "cache").c_str(), 1);
  const tools::Selection selection = tools::select_model("mambabyte:353m", {"layers=1", "B=8", "L=8192"});
  const Graph fused = tools::graph_for_gpu(selection.model, GraphKind::train, DType::bf16, selection.sizes);
  for (const SlotLimits& limits : {SlotLimits{"scan:pieces=1", 12, 40}, {"scan:pieces=2", 13.5, 40}}) {
    const auto cost = [&] {
      return tools::gpu_cost(fused, GraphKind::train, selection.sizes, "sm_90",
                             tools::ScheduleSettings(DeviceKind::gpu, default_gpu_schedule, {limits.setting}).scheduler());
    };
    const tools::GpuCost found = cost();
    expect_few_slots(found, limits);
    if (found.counted_in == "PTX") continue;
    setenv("MAMBAC_NVDISASM", "none", 1);
    expect_few_slots(cost(), limits);
    unsetenv("MAMBAC_NVDISASM");
  }
}

}  // namespace
}  // namespace mambac::cuda
