// What kernels would take on described GPUs, against what they took on an H200 (docs/cuda.md).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "codegen/kernel_name.h"
#include "ir/error.h"
#include "runtime/cuda/disassembler.h"
#include "runtime/cuda/nvrtc.h"
#include "tests/nvrtc_support.h"
#include "tests/temporary_folder.h"
#include "tools/compile.h"
#include "tools/cost_model.h"
#include "tools/cuda_kernels.h"
#include "tools/kernel_work.h"
#include "tools/schedule_option.h"

namespace mambac::tools {
namespace {

/// A kernel of a graph at sizes: of those with the name the one that moves most.
struct Subject {
  Graph fused;
  int number = 0;
  Bindings sizes;
};

Subject subject(Graph fused, const std::string& name, const Bindings& sizes) {
  Subject found{std::move(fused), -1, sizes};
  const std::vector<KernelWork> works = kernel_work(found.fused, sizes);
  double most = 0;
  for (int k = 0; k < static_cast<int>(works.size()); ++k) {
    const KernelWork& work = works[static_cast<size_t>(k)];
    if (work.library || work.bytes() <= most || !kernel_name(found.fused, k).starts_with(name)) continue;
    most = work.bytes();
    found.number = k;
  }
  EXPECT_GE(found.number, 0) << name;
  return found;
}

/// Of the training graph of mambabyte:353m in bf16, one layer, B = 8 and L = 8192.
Subject of_layer(const std::string& name) {
  const Selection selection = select_model("mambabyte:353m", {"layers=1", "B=8", "L=8192"});
  return subject(graph_for_gpu(selection.model, GraphKind::train, DType::bf16, selection.sizes), name, selection.sizes);
}

/// Of the optimiser, which has all parameters of mambabyte:353m in one row.
Subject of_optimiser(const std::string& block) {
  const Graph graph = instantiate_block(load_model("mambabyte:353m"), block, {{"P", 353945600}});
  return subject(run_pipeline(graph, for_gpu(options_for(GraphKind::eval, DType::f32, {}))).graph, "", {});
}

/// Its schedule with other axes: "pieces=1,tile=4"; empty: as it is.
Schedule with(const Subject& of, const std::string& axes) {
  std::vector<std::string> settings;
  if (!axes.empty()) settings.push_back(fmt::format("k{}:{}", of.number, axes));
  return ScheduleSettings(DeviceKind::gpu, default_gpu_schedule, settings).scheduler()(of.fused, of.number);
}

std::vector<Prediction> predict(const Subject& of, const std::vector<std::string>& axes, const char* gpu = "h200") {
  std::vector<Schedule> schedules;
  for (const std::string& one : axes) schedules.push_back(with(of, one));
  return cost_model(gpu)->predict(of.fused, of.number, schedules, of.sizes);
}

class GpuCostModel : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = test::without_nvrtc(); !reason.empty()) GTEST_SKIP() << reason;
    setenv("MAMBAC_CACHE", (folder_ / "cache").c_str(), 1);
  }
  void TearDown() override { unsetenv("MAMBAC_CACHE"); }

  TemporaryFolder folder_;
};

struct Measured {
  std::string axes;
  double ms = 0;  // on an H200 (docs/cuda.md); 0: it was not, or of other code
};

/// Milliseconds, within a third of what was measured.
std::vector<double> near(const Subject& of, const std::vector<Measured>& cases) {
  std::vector<std::string> axes;
  for (const Measured& one : cases) axes.push_back(one.axes);
  const std::vector<Prediction> found = predict(of, axes);
  std::vector<double> ms;
  for (size_t i = 0; i < found.size(); ++i) {
    ms.push_back(found[i].seconds * 1e3);
    fmt::print("{} {}: {:.4f} ms predicted, {} measured; waits for {}, occupancy {:.0f}%\n",
               kernel_name(of.fused, of.number), cases[i].axes, ms.back(),
               cases[i].ms > 0 ? fmt::format("{:.3f}", cases[i].ms) : "not", found[i].bound, 100 * found[i].use);
    EXPECT_GT(found[i].use, 0);
    EXPECT_LE(found[i].use, 1);
    EXPECT_GT(found[i].slots, found[i].exponentials);
    if (cases[i].ms > 0) {
      EXPECT_NEAR(ms.back() / cases[i].ms, 1, 0.35) << cases[i].axes;
    }
  }
  return ms;
}

void expect_two_lanes_first(const std::vector<double>& of_two_one_and_four) {
  EXPECT_LT(of_two_one_and_four[0], of_two_one_and_four[1]);
  EXPECT_LT(of_two_one_and_four[0], of_two_one_and_four[2]);
}

TEST_F(GpuCostModel, TwoLanesForAChannelAreBestForward) {
  expect_two_lanes_first(near(of_layer("mamba_fwd_softplus"), {{"", 1.085}, {"pieces=1"}, {"pieces=4"}}));
}

TEST_F(GpuCostModel, TwoLanesForAChannelAreBestBackward) {
  expect_two_lanes_first(near(of_layer("mamba_bwd_softplus"), {{"", 3.13}, {"pieces=1"}, {"pieces=4"}}));
}

bool has_nvdisasm() {
  return !cuda::find_disassembler(cuda::Nvrtc::instance().path()).empty();
}

TEST_F(GpuCostModel, AdamWReads16Bytes) {
  const Subject update = of_optimiser("adamw");
  const std::vector<double> ms = near(update, {{"", 2.5}, {"columns=1,width=512,row_unroll=1,summing_tasks=128"}});
  if (!has_nvdisasm()) return;  // of PTX only the bytes are known
  EXPECT_LT(2 * ms[0], ms[1]);
}

TEST_F(GpuCostModel, OtherGpusHaveTimesOfTheirOwn) {
  const Subject walk = of_layer("mamba_fwd_softplus");
  std::map<std::string, double> seconds;
  for (const char* gpu : {"h100", "h200", "a100", "b200"}) {
    seconds[gpu] = predict(walk, {""}, gpu)[0].seconds;
    fmt::print("{}: {:.3f} ms\n", gpu, seconds[gpu] * 1e3);
  }
  EXPECT_GE(seconds["h100"], seconds["h200"]);
  EXPECT_GT(seconds["a100"], 1.2 * seconds["h200"]);
  EXPECT_LT(seconds["b200"], 1.1 * seconds["h200"]);
}

TEST_F(GpuCostModel, KnowsLessWithoutNvdisasm) {
  const char* named = std::getenv("MAMBAC_NVDISASM");
  const std::string before = named ? named : "";
  setenv("MAMBAC_NVDISASM", "none", 1);
  const std::vector<double> ms = near(of_layer("mamba_fwd_softplus"), {{"", 1.085}, {"pieces=1"}});
  if (named)
    setenv("MAMBAC_NVDISASM", before.c_str(), 1);
  else
    unsetenv("MAMBAC_NVDISASM");
  EXPECT_LT(ms[0], ms[1]);
}

TEST_F(GpuCostModel, IsNearOtherMeasurements) {
  if (!has_nvdisasm()) GTEST_SKIP() << "nvdisasm is not installed here, and PTX does not tell what these wait for";
  near(of_layer("mamba_fwd_softplus"), {{"tiles_ahead=1", 1.30}});
  near(of_layer("mamba_fwd_convolve"), {{"", 0.214}, {"steps_per_task=0"}});
  near(of_layer("mamba_bwd_gate"), {{"", 0.454}, {"steps_per_task=0"}, {"steps_per_task=512,width=64", 0.41}});
  near(of_layer("prelude_fwd_sum_norm"), {{"", 0.201}});
  near(of_layer("prelude_bwd_norm"), {{"", 0.234}});
  near(of_layer("mamba_bwd_cast"), {{"", 0.007}, {"rows_per_task=1", 0.041}});
  near(of_optimiser("sum_squares"), {{"", 0.31}});
}

TEST(CostModels, AreOfDescriptions) {
  EXPECT_EQ(cost_model("h200")->kind(), DeviceKind::gpu);
  const std::string message = message_of<InputError>([] { cost_model("h300"); });
  EXPECT_NE(message.find("h100 or h200"), std::string::npos) << message;
  const TemporaryFolder folder;
  const auto path =
      folder.write("toaster.json", R"({"kind": "toaster", "slots": 2, "sources": {"kitchen": ["slots"]}})");
  const std::string other = message_of<InputError>([&] { cost_model(path.string()); });
  EXPECT_NE(other.find("describes a toaster"), std::string::npos) << other;
}

TEST(GpuProducts, TakeAsLongAsTheirFlopsOrBytes) {
  const Subject layer = of_layer("mamba_fwd_softplus");
  const std::vector<KernelWork> works = kernel_work(layer.fused, layer.sizes);
  const std::unique_ptr<CostModel> model = cost_model("h200");
  int seen = 0;
  for (size_t k = 0; k < works.size(); ++k) {
    if (!works[k].product) continue;
    const MatmulShape& shape = *works[k].product;
    const Prediction found = model->predict(layer.fused, static_cast<int>(k), {Schedule{}}, layer.sizes).front();
    const auto expect = [&](int64_t n, int64_t inner, double ms, std::string_view bound) {
      if (shape.m != 65536 || shape.n != n || shape.k != inner) return;
      ++seen;
      EXPECT_NEAR(found.seconds * 1e3 / ms, 1, 0.2) << shape.str();
      EXPECT_EQ(found.bound, bound);
    };
    expect(4096, 1024, 0.806, "products");
    expect(1024, 2048, 0.373, "products");
    expect(96, 2048, 0.073, "bytes");
  }
  EXPECT_GE(seen, 3);
}

}  // namespace
}  // namespace mambac::tools
