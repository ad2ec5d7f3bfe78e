// `--check-nan` of `mambac run` and `mambac train`: the first NaN or infinity is named, with line, index and step.
#include <nlohmann/json.hpp>

#include "frontend/model.h"
#include "ir/gradient.h"
#include "runtime/npy.h"
#include "tests/faulty_device.h"
#include "tests/tools_here.h"
#include "tools/compile.h"
#include "tools/not_finite.h"
#include "tools/port_values.h"
#include "tools/random_inputs.h"

namespace mambac::test {
namespace {

class CheckNan : public testing::Test {
 protected:
  void write_array(const std::string& name, std::vector<int64_t> shape, const std::vector<float>& values) const {
    write_npy(folder / name, ElementType::f32, shape, values.data());
  }
  Outcome fails(const std::string& command) const {
    Outcome outcome = shell(folder, command);
    EXPECT_EQ(outcome.code, 1) << command << "\n" << outcome.out << outcome.error;
    return outcome;
  }
  TemporaryFolder folder;
};

void expect_has(const Outcome& outcome, const std::string& text) {
  EXPECT_NE(outcome.error.find(text), std::string::npos) << outcome.error << "\nlacks\n" << text;
}

/// The logarithm is a value within one kernel.
constexpr const char* kLog = R"(free B, L
block logs<D = 3>(x: [B, L, D]) {
  y = x * 2
  z = log(y)
  return out = scan<L>(0.5, z + 1)
}
)";

TEST_F(CheckNan, RunNamesTheOpWithItsOperandAndIndex) {
  folder.write("logs.mb", kLog);
  std::vector<float> x(12, 1);
  x[7] = -0.25f;
  write_array("x.npy", {2, 2, 3}, x);
  for (const std::string device : {"cpu", "reference", "cuda-emulated"}) {
    const Outcome outcome =
        fails("mambac run logs.mb --block logs --input x=x.npy --out result --check-nan --device " + device);
    expect_has(outcome, "logs.mb:4:7: log 'z' is NaN at [1, 0, 1], made of finite numbers (y = -0.5)");
    EXPECT_FALSE(std::filesystem::exists(folder / "result")) << device;
  }
  const Outcome unchecked = shell(folder, "mambac run logs.mb --block logs --input x=x.npy --out result");
  EXPECT_EQ(unchecked.code, 0);
  x[7] = 0.25f;
  write_array("x.npy", {2, 2, 3}, x);
  succeed(folder, "mambac run logs.mb --block logs --input x=x.npy --out result --check-nan");
}

TEST_F(CheckNan, RunNamesInfinitiesOfF32AndOfGradients) {
  folder.write("wide.mb", "free B\nblock wide(x: [B]) {\n  y = exp(x)\n  return out = y * sqrt(x)\n}\n");
  write_array("large.npy", {2}, {1, 100});
  expect_has(fails("mambac run wide.mb --block wide --input x=large.npy --out r --check-nan"),
             "wide.mb:3:7: exp 'y' is infinity at [1], made of finite numbers (x = 100)");
  succeed(folder, "mambac run wide.mb --block wide --input x=large.npy --out r --check-nan --device reference");
  write_array("zero.npy", {2}, {0, 1});
  const Outcome outcome = fails("mambac run wide.mb --block wide --input x=zero.npy --out r --grad --check-nan");
  expect_has(outcome, "wide.mb:4:20: div ");
  expect_has(outcome, "is infinity at [0], made of finite numbers");
}

/// A weight that training makes smaller, until its logarithm is none.
constexpr const char* kShrinking = R"(free B, L
model shrinking<U = 256, V = 256>(bytes: u8[B, L], targets: u8[B, L]) {
  param table: [U, V] = normal(0, 0.01)
  param w: [] = constant(0.05) no_decay
  logits = gather<U>(table, bytes)
  penalty = 0.001 * log(w) + w
  return logits, loss = mean<B>(mean<L>(cross_entropy<V>(logits, targets))) + penalty
}
)";

constexpr const char* kTrain =
    " --data train.txt --batch 2 --context 16 --steps 40 --evaluations 1 --learning-rate 0.02";

TEST_F(CheckNan, TrainNamesLineAndStepAndKeepsTheStepBefore) {
  folder.write("train.txt", learnable_text(4000));
  folder.write("shrinking.mb", kShrinking);
  for (const std::string more : {"", " --accumulate 3"}) {
    const std::string out = "run" + std::to_string(more.size());
    const Outcome outcome = fails("mambac train shrinking.mb --check-nan --out " + out + kTrain + more);
    const size_t at = outcome.error.find("training diverged at step ");
    ASSERT_NE(at, std::string::npos) << outcome.error;
    const int step = std::stoi(outcome.error.substr(at + 26));
    EXPECT_GT(step, 2);
    expect_has(outcome, "shrinking.mb:6:21: log ");
    expect_has(outcome, "is NaN, made of finite numbers (w = -");
    expect_has(outcome, "'" + out + "/checkpoint-" + std::to_string(step - 1) + "' is written");
    const auto record = nlohmann::json::parse(contents(folder / out / "latest/training.json"));
    EXPECT_EQ(record.at("step"), step - 1);
    // The checkpoint is that of the step before: the step fails again.
    const Outcome resumed =
        fails("mambac train shrinking.mb --resume --check-nan --data train.txt --out " + out + more);
    expect_has(resumed, "training diverged at step " + std::to_string(step));
  }
  const Outcome plain = fails("mambac train shrinking.mb --out plain" + std::string(kTrain));
  expect_has(plain, "training diverged at step 4");
  EXPECT_EQ(plain.error.find("shrinking.mb:6"), std::string::npos) << plain.error;
  EXPECT_FALSE(std::filesystem::exists(folder / "plain/latest")) << "without the flag nothing is written";
}

TEST_F(CheckNan, TrainLooksIntoHeldOutData) {
  folder.write("train.txt", learnable_text(4000));
  folder.write("valid.txt", learnable_text(300) + std::string(40, '\xf0'));
  folder.write("bytes.mb", R"(free B, L
model bytes<U = 256, V = 256>(bytes: u8[B, L], targets: u8[B, L]) {
  param table: [U, V] = normal(0, 0.01)
  param heights: [U] = log_arange no_decay
  distance = 5.2 - gather<U>(heights, bytes)
  logits = gather<U>(table, bytes) * log(distance)
  return logits, loss = mean<B>(mean<L>(cross_entropy<V>(logits, targets)))
}
)");
  const Outcome outcome = fails(
      "mambac train bytes.mb --check-nan --out run --valid valid.txt --steps 2 --data train.txt --batch 2 "
      "--context 16 --learning-rate 1e-3");
  expect_has(outcome, "the held-out loss is nan");
  expect_has(outcome, "bytes.mb:6:38: log ");
}

TEST_F(CheckNan, TrainNamesTheLineWhoseGradientIsNaN) {
  folder.write("train.txt", learnable_text(4000));
  gradient_hook() = [](Builder& b, const Node& node, std::vector<NodeId>& to) {
    if (node.op == Op::Softplus) to[0] = b.Add(to[0], b.Log(b.Neg(b.Exp(to[0]))));
  };
  const Outcome outcome =
      run_here({"train", "mambabyte:tiny", "--data", (folder / "train.txt").string(), "--out",
                (folder / "run").string(), "--batch", "2", "--context", "16", "--steps", "3", "--check-nan"});
  gradient_hook() = {};
  EXPECT_EQ(outcome.code, 1);
  expect_has(outcome, "training diverged at step 1");
  expect_has(outcome, "mamba.mb:22:9: log ");
  expect_has(outcome, "checkpoint-0' is written");
}

/// Where only the device makes a NaN: the interpreter would find none.
TEST_F(CheckNan, NamesWhatADeviceMakes) {
  const Bindings sizes{{"B", 2}, {"L", 11}};
  const std::unique_ptr<Device> device = faulty_device({.op = Op::Softplus, .factor = std::nan("")});
  const tools::Selection selection = tools::select_model("mambabyte:tiny", {});
  const Graph source = tools::source_graph(selection.model, GraphKind::eval);
  const auto compiled = tools::compile(source, tools::options_for(GraphKind::eval, DType::f32, sizes), sizes, *device);
  tools::PortMemory memory;
  memory.bind(**compiled);
  tools::fill_inputs(compiled->program->graph(), **compiled, memory,
                     tools::random_inputs(compiled->program->graph(), sizes, {}));
  const std::string found = tools::find_not_finite(*compiled->program, **compiled, sizes);
  EXPECT_NE(found.find("mamba.mb:22:9: softplus 'dt' is NaN at [0, 0, 0], made of finite numbers"), std::string::npos)
      << found;
}

TEST_F(CheckNan, NothingChangesWhereAllIsFinite) {
  folder.write("train.txt", learnable_text(4000));
  const std::string command = "mambac train mambabyte:tiny --data train.txt --batch 2 --context 16 --steps 3 --out ";
  succeed(folder, command + "plain");
  succeed(folder, command + "checked --check-nan");
  succeed(folder, "cmp plain/latest/model.safetensors checked/latest/model.safetensors");
}

}  // namespace
}  // namespace mambac::test
