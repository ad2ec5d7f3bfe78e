// Training, evaluation and generation on a device: the emulated GPU, the CUDA device with a library that answers like
// CUDA (tests/fake_cuda.h), and the CPU behind memory that the host cannot touch.
#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/cpu_device.h"
#include "runtime/cuda/cuda_device.h"
#include "runtime/cuda/emulated_device.h"
#include "runtime/evaluate.h"
#include "runtime/generate.h"
#include "runtime/memory_use.h"
#include "tests/protected_device.h"
#include "tests/tools_support.h"
#include "tools/training_graphs.h"

namespace mambac::test {
namespace {

using tools::CompiledTraining, tools::TrainOptions;

/// Its parameter is the name of a device. What differs from the CPU in the order of sums only is near; what has the
/// CPU's kernels is the same.
class OnDevice : public testing::TestWithParam<std::string> {
 protected:
  OnDevice() : device_(open(GetParam())) {
    folder_.write("train.txt", learnable_text(6000));
    folder_.write("valid.txt", learnable_text(600));
    options_.batch = 3;
    options_.context = 19;
    options_.settings.learning_rate = 5e-3;
    options_.settings.valid_windows = 4;
  }

  std::unique_ptr<Device> open(const std::string& name) const {
    if (name == "protected") return protected_device();
    if (name == "emulated") return emulated_cuda_device();
    for (const char* variable : {"MAMBAC_CUDA_DRIVER", "MAMBAC_NVRTC", "MAMBAC_CUBLASLT"})
      setenv(variable, MAMBAC_FAKE_CUDA, 1);
    setenv("MAMBAC_CACHE", (folder_ / "cache").c_str(), 1);
    return make_cuda_device(0);
  }

  bool exact() const { return GetParam() == "protected"; }
  void expect_same(double found, double expected, double tolerance) const {
    if (exact())
      EXPECT_EQ(found, expected);
    else
      EXPECT_NEAR(found, expected, tolerance);
  }
  void expect_same(const std::vector<float>& found, const std::vector<float>& expected, float tolerance) const {
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i)
      ASSERT_LE(std::abs(found[i] - expected[i]), exact() ? 0 : tolerance * (1 + std::abs(expected[i]))) << i;
  }

  /// Goes on in the folder to so many steps; the points of the whole curve.
  std::vector<CurvePoint> train_on(Device& device, const std::string& out, int64_t steps) const {
    Model model = load_model("mambabyte:tiny");
    TrainOptions options = options_;
    options.settings.steps = options.settings.evaluations = steps;
    const Graph training = training_graph(model);
    const ParameterLayout layout = tools::layout_of(training);
    const CompiledTraining compiled = tools::compile_training(model, training, options, layout, true, device);
    ByteSource data(folder_ / "train.txt"), valid(folder_ / "valid.txt");
    TrainingJob job{.settings = options.settings, .layout = layout, .graphs = compiled.graphs(), .data = data};
    job.valid = &valid;
    job.folder = folder_ / out;
    job.resume = true;
    model.training = tools::option_texts(options);
    job.texts = {{"model.mb", definition_text(model)}};
    return read_training_record(train(job).checkpoint).curve;
  }

  void expect_same_curve(const std::vector<CurvePoint>& found, const std::vector<CurvePoint>& expected) const {
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      expect_same(found[i].train_bits_per_byte, expected[i].train_bits_per_byte, 1e-4);
      expect_same(*found[i].valid_bits_per_byte, *expected[i].valid_bits_per_byte, 1e-4);
    }
  }

  tools::Checkpoint checkpoint(const std::string& out) const {
    return tools::load_checkpoint((folder_ / out).string());
  }
  Device& device() const { return *device_; }

  TemporaryFolder folder_;
  TrainOptions options_;

 private:
  std::unique_ptr<Device> device_;
};

INSTANTIATE_TEST_SUITE_P(Devices, OnDevice, testing::Values("emulated", "cuda", "protected"),
                         [](const auto& info) { return info.param; });

TEST_P(OnDevice, LossesAreThoseOfTheCpu) {
  const auto found = train_on(device(), "found", 4), expected = train_on(cpu_device(), "expected", 4);
  EXPECT_EQ(found.size(), 4u);
  EXPECT_LT(found.back().train_bits_per_byte, found.front().train_bits_per_byte - 0.1) << "nothing was learned";
  expect_same_curve(found, expected);
}

TEST_P(OnDevice, AccumulatedBatchesAreThoseOfTheCpu) {
  options_.settings.accumulate = 3;
  options_.storage = DType::bf16;
  const auto found = train_on(device(), "found", 2), expected = train_on(cpu_device(), "expected", 2);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i)
    expect_same(*found[i].valid_bits_per_byte, *expected[i].valid_bits_per_byte, 0.03);
}

TEST_P(OnDevice, ACheckpointOfOneDeviceGoesOnOnTheOther) {
  for (const char* out : {"stay", "there", "back"})
    train_on(std::string(out) == "back" ? device() : cpu_device(), out, 2);
  const auto expected = train_on(cpu_device(), "stay", 4);
  EXPECT_EQ(expected.size(), 4u);
  expect_same_curve(train_on(device(), "there", 4), expected);
  expect_same_curve(train_on(cpu_device(), "back", 4), expected);
  if (!exact()) return;
  for (const char* file : {"latest/model.safetensors", "latest/optimiser.safetensors"})
    for (const char* out : {"there", "back"})
      EXPECT_EQ(contents(folder_ / out / file), contents(folder_ / "stay" / file)) << out << " " << file;
}

TEST_P(OnDevice, EvaluationAgrees) {
  train_on(cpu_device(), "run", 20);
  const tools::Checkpoint run = checkpoint("run");
  const Bindings sizes{{"B", 4}, {"L", 24}};
  const ByteSource data(folder_ / "valid.txt");
  const auto score = [&](Device& where) {
    const Graph graph = tools::with_output(tools::source_graph(run.model, GraphKind::eval), "nll");
    const auto compiled = tools::compile(graph, tools::options_for(GraphKind::eval, DType::f32, sizes), sizes, where);
    const Weights weights(SafetensorsFile(run.weights), weight_ports(**compiled), where);
    weights.bind(**compiled);
    return evaluate(**compiled, data, 17);
  };
  const Evaluation found = score(device()), expected = score(cpu_device());
  EXPECT_EQ(found.scored_bytes, 599);
  EXPECT_LT(found.bits_per_byte, 7);
  expect_same(found.bits_per_byte, expected.bits_per_byte, 1e-4);
}

/// A model that can write.
class Writer {
 public:
  Writer(const tools::Checkpoint& run, Device& device, int64_t rows, int64_t chunk)
      : step_(compiled(run, GraphKind::step, rows, chunk, device)),
        prefill_(compiled(run, GraphKind::prefill, rows, chunk, device)),
        weights_(SafetensorsFile(run.weights), weight_ports(**step_), device) {
    weights_.bind(**step_);
    weights_.bind(**prefill_);
    if (!device.memory_is_host()) {
      const Graph sampling = inference_graph(load_model("sampling"));
      sampler_ = tools::compile(sampling, tools::options_for(GraphKind::eval, DType::f32, {}), {{"B", rows}}, device);
    }
    generator_.emplace(&**prefill_, **step_, sampler_ ? &**sampler_ : nullptr);
  }
  Generator& operator*() { return *generator_; }
  Generator* operator->() { return &*generator_; }

 private:
  static std::unique_ptr<tools::Compiled> compiled(const tools::Checkpoint& run, GraphKind kind, int64_t rows,
                                                   int64_t chunk, Device& device) {
    const Bindings sizes{{"B", rows}, {"L", chunk}};
    return tools::compile(tools::source_graph(run.model, kind), tools::options_for(kind, DType::f32, sizes), sizes,
                          device);
  }

  std::unique_ptr<tools::Compiled> step_, prefill_, sampler_;
  Weights weights_;
  std::optional<Generator> generator_;
};

TEST_P(OnDevice, GenerationWritesTheSame) {
  train_on(cpu_device(), "run", 60);
  const tools::Checkpoint run = checkpoint("run");
  const std::vector<std::string> prompts = {"the state of a scan is ", "a small state", "of the scan"};
  GenerateOptions options{.bytes = 40, .sampling = {.temperature = 0}, .seed = 5};
  Writer there(run, device(), 2, 8), here(run, cpu_device(), 2, 8);
  EXPECT_EQ(there->generate(prompts, options), here->generate(prompts, options));
  if (!exact()) return;
  options.sampling.temperature = 1;  // a rounding may change what is drawn
  EXPECT_EQ(there->generate(prompts, options), here->generate(prompts, options));
}

TEST_P(OnDevice, AStateOfOneDeviceGoesOnOnTheOther) {
  train_on(cpu_device(), "run", 5);
  const tools::Checkpoint run = checkpoint("run");
  const std::string text = "states of a scan and more";
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  Writer there(run, device(), 1, 8), here(run, cpu_device(), 1, 8);
  there->feed({bytes}, 19);  // two chunks and three steps
  there->state().save(folder_ / "state");
  here->state().restore(folder_ / "state");
  here->feed({bytes + 19}, 2);
  const std::vector<float> found(here->logits(0).begin(), here->logits(0).end());
  here->state().reset();
  here->feed({bytes}, 21);
  const std::vector<float> expected(here->logits(0).begin(), here->logits(0).end());
  expect_same(found, expected, 1e-4F);
}

// ---- the driver
// -------------------------------------------------------------------------------------------------------

TEST(DeviceOption, TrainsEvaluatesAndWrites) {
  const TemporaryFolder folder;
  folder.write("train.txt", learnable_text(6000));
  const std::string train =
      "mambac train mambabyte:tiny --data train.txt --batch 2 --context 16 --json --out run --steps ";
  const auto trained = nlohmann::json::parse(succeed(folder, train + "2 --device cuda-emulated"));
  EXPECT_EQ(trained.at("step"), 2);
  EXPECT_TRUE(trained.at("used_bytes").is_null()) << "what the process uses is no memory of the device";
  EXPECT_EQ(nlohmann::json::parse(succeed(folder, train + "3 --resume --device cpu")).at("step"), 3);

  const auto scored = [&](const std::string& device) {
    return nlohmann::json::parse(succeed(folder,
                                         "mambac eval run --data train.txt --context 32 --batch 8 --stride 32 "
                                         "--json --device " +
                                             device))
        .at("bits_per_byte")
        .get<double>();
  };
  EXPECT_NEAR(scored("cuda-emulated"), scored("cpu"), 1e-4);
  const auto written = [&](const std::string& device) {
    return succeed(
        folder,
        "mambac generate run --prompt 'the state of a scan' --bytes 12 --chunk 8 --temperature 0 --device " + device);
  };
  EXPECT_EQ(written("cuda-emulated"), written("cpu"));
}

TEST(DeviceOption, CudaIsWhatItsVariablesName) {
  const TemporaryFolder folder;
  folder.write("train.txt", learnable_text(6000));
  const std::string cuda = "export MAMBAC_CUDA_DRIVER='" MAMBAC_FAKE_CUDA "' MAMBAC_NVRTC='" MAMBAC_FAKE_CUDA
                           "' MAMBAC_CUBLASLT='" MAMBAC_FAKE_CUDA "' MAMBAC_CACHE=\"$PWD/cache\"; ";
  const auto trained = nlohmann::json::parse(
      succeed(folder, cuda + "mambac train mambabyte:tiny --data train.txt --batch 2 --context 16 --json --out run "
                             "--steps 3 --device cuda"));
  EXPECT_EQ(trained.at("step"), 3);
  const std::string write = "mambac generate run --prompt 'the state of a scan' --bytes 12 --chunk 8 --temperature 0";
  EXPECT_EQ(succeed(folder, cuda + write + " --device cuda:0"), succeed(folder, write));
  const Outcome full = shell(folder, cuda + "FAKE_CUDA_MEMORY=20000 " + write + " --device cuda");
  EXPECT_EQ(full.code, 3);
  EXPECT_NE(full.error.find("out of device memory"), std::string::npos) << full.error;
}

TEST(DeviceOption, AnInterruptedRunNamesItsDevice) {
  const TemporaryFolder folder;
  folder.write("train.txt", learnable_text(6000));
  const Outcome outcome = shell(folder, "'" MAMBAC_DRIVER
                                        "' train mambabyte:tiny --data train.txt --batch 2 --context 16 "
                                        "--steps 100000 --device cuda-emulated --out run 2>log & child=$!\n"
                                        "while ! grep -q step log; do sleep 0.05; kill -0 $child || exit 98; done\n"
                                        "kill -INT $child; wait $child");
  EXPECT_EQ(outcome.code, 130) << outcome.error << contents(folder / "log");
  EXPECT_NE(contents(folder / "log").find("--device 'cuda-emulated' --resume"), std::string::npos)
      << contents(folder / "log");
}

/// By the plan for the device, as few layers as make it fit.
TEST(Recompute, IsOfAsFewLayersAsFit) {
  Model model = load_model("mambabyte:tiny");
  set(model, {{"layers", 6}});
  const Graph loss = tools::with_output(training_graph(model), "loss");
  const Bindings sizes{{"B", 4}, {"L", 1024}};
  PipelineOptions options = tools::options_for(GraphKind::train, DType::bf16, sizes);
  std::vector<int64_t> planned;
  for (options.recompute = 0; options.recompute < 6; ++options.recompute)
    planned.push_back(
        planned_arena_bytes(run_pipeline(loss, options).graph, DeviceKind::cpu,
                                          schedules_of(cpu_device()), sizes, false));
  const auto fitting = [&](int64_t bytes) {
    return tools::fitting_recompute(loss, options, sizes, cpu_device(), bytes);
  };
  for (int parts : {0, 1, 3, 5}) EXPECT_EQ(fitting(planned[static_cast<size_t>(parts)]), parts);
  EXPECT_EQ(fitting(planned[2] - 1), 3);
  EXPECT_EQ(fitting(planned[0] * 2), 0);
  EXPECT_EQ(fitting(1), 5);  // all that there are: the last layer's values are read at once
}

TEST(Memory, ThereIsSomeLeft) {
  EXPECT_GT(available_memory(), 1 << 20);
  EXPECT_LT(available_memory(), INT64_MAX);
}

}  // namespace
}  // namespace mambac::test
