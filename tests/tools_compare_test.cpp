// `mambac compare`: what is right is found right, and planted mistakes of a gradient rule and of a device are named.
#include <nlohmann/json.hpp>

#include "frontend/model.h"
#include "ir/gradient.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "passes/kernel_alone.h"
#include "runtime/cpu_device.h"
#include "runtime/cuda/emulated_device.h"
#include "tests/faulty_device.h"
#include "tests/tools_here.h"
#include "tools/compare.h"
#include "tools/compile.h"
#include "tools/pass_check.h"
#include "tools/random_inputs.h"
#include "tools/value_check.h"

namespace mambac::test {
namespace {

using Json = nlohmann::json;

/// A recurrence whose decays, gate and norm use most of what the wide ops are.
constexpr const char* kMixer = R"(free B, L
dim E = 12
dim D = 24
dim N = 3
model small(x: [B, L, E]) -> [B, L, E] {
  param in_w: [E, D] = uniform(-0.3, 0.3)
  param dt_w: [D] = uniform(-0.5, 0.5)
  param a_log: [D, N] = log_arange
  param c: [D, N] = uniform(-1, 1)
  param out_w: [D, E] = uniform(-0.3, 0.3)
  u = dot<E>(x, in_w)
  dt = softplus(u * dt_w)
  h = scan<L>(exp(-dt * exp(a_log)), dt * u)
  y = sum<N>(h * c) * sigmoid(u)
  return out = x + dot<D>(y, out_w)
}
)";

class Compare : public testing::Test {
 protected:
  void SetUp() override { folder.write("small.mb", kMixer); }
  std::string model() const { return (folder / "small.mb").string(); }
  TemporaryFolder folder;
};

TEST_F(Compare, WhatIsRightIsWithinItsBounds) {
  for (const std::string options : {"--graph train", "--graph train --dtype bf16", "--graph prefill --dtype bf16",
                                    "--graph step --set B=3", "--graph eval --seed 5"}) {
    const Json json = Json::parse(succeed(folder, "mambac compare mambabyte:tiny --json --set L=19 " + options));
    EXPECT_TRUE(json.at("good")) << options << json.dump(1);
    ASSERT_EQ(json.at("devices").size(), 1u);
    const Json& cpu = json.at("devices")[0];
    EXPECT_EQ(cpu.at("device"), "cpu");
    EXPECT_GT(cpu.at("values"), cpu.at("kernels"));
    EXPECT_GT(cpu.at("worst").at("error_of_bound"), 0.01) << "bounds that say nothing" << options;
    EXPECT_LE(cpu.at("worst").at("error_of_bound"), 1) << options;
    EXPECT_TRUE(cpu.at("amplified").empty()) << options << json.dump(1);
  }
}

TEST_F(Compare, TheEmulatedDeviceIsHeldAgainstTheReferenceToo) {
  const Json json = Json::parse(
      succeed(folder, "mambac compare small.mb --graph train --set L=11 --devices cpu,cuda-emulated --json"));
  ASSERT_EQ(json.at("devices").size(), 2u);
  EXPECT_EQ(json.at("devices")[1].at("device"), "cuda-emulated");
  EXPECT_EQ(json.at("devices")[0].at("values"), json.at("devices")[1].at("values")) << "not the same fused graph";
}

TEST_F(Compare, TheSameBytesInTwoProcesses) {
  const std::string command = "mambac compare small.mb --set L=9";
  EXPECT_EQ(succeed(folder, command), succeed(folder, command));
}

TEST_F(Compare, NamesAWrongGradientRule) {
  for (const auto& [op, line] : {std::pair{Op::Softplus, "12:"}, {Op::Scan, "13:"}, {Op::Dot, "11:"}}) {
    gradient_hook() = [wrong = op](Builder& b, const Node& node, std::vector<NodeId>& to) {
      if (node.op == wrong) to[0] = b.Mul(to[0], b.constant(1.01));
    };
    const Outcome outcome = run_here({"compare", model(), "--graph", "train", "--set", "L=9"});
    gradient_hook() = {};
    EXPECT_EQ(outcome.code, 1);
    EXPECT_NE(outcome.out.find("the gradient rule of " + std::string(name_of(op))), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("small.mb:" + std::string(line)), std::string::npos) << outcome.out;
  }
  EXPECT_EQ(run_here({"compare", model(), "--graph", "train", "--set", "L=9"}).code, 0);
}

tools::Comparison compare_on(Device& device, const std::string& file, GraphKind kind, DType storage) {
  const Bindings sizes{{"B", 2}, {"L", 21}};
  const tools::Selection selection = tools::select_model(file, {});
  const Graph source = tools::source_graph(selection.model, kind);
  const Graph fused = run_pipeline(source, tools::options_for(kind, storage, sizes)).graph;
  const Arrays inputs = tools::random_inputs(fused, sizes, {});
  const Program program(fused, {}, device);
  return tools::compare_with_reference(program, sizes, inputs, false, [](const std::string&, size_t, size_t) {});
}

TEST_F(Compare, NamesTheOpThatADeviceComputesWrong) {
  for (const DType storage : {DType::f32, DType::bf16})
    for (const GraphKind kind : {GraphKind::eval, GraphKind::train})
      for (const auto& [op, line] : {std::pair{Op::Softplus, 12}, {Op::Sigmoid, 14}}) {
        const auto device = faulty_device({.op = op});
        const tools::Comparison comparison = compare_on(*device, model(), kind, storage);
        ASSERT_TRUE(comparison.wrong);
        const tools::WrongValue& wrong = *comparison.wrong;
        EXPECT_EQ(wrong.value.op, op);
        EXPECT_EQ(wrong.value.location.line, line);
        EXPECT_NEAR(wrong.value.found, 1.01 * wrong.value.expected, 1e-4 * std::abs(wrong.value.found));
        EXPECT_GT(wrong.value.of_bound, 100) << "within its kernel the value is f32";
        EXPECT_NE(wrong.note.find("within the kernel"), std::string::npos) << wrong.note;
        ASSERT_GT(wrong.path.size(), 1u);
        EXPECT_EQ(wrong.path.back().name, wrong.value.name);
        for (size_t i = 0; i + 1 < wrong.path.size(); ++i) EXPECT_LE(wrong.path[i].of_bound, 1) << wrong.path[i].name;
        EXPECT_TRUE(comparison.amplified.empty());
      }
}

TEST_F(Compare, NamesAPassThatChangesAValue) {
  const Bindings sizes{{"B", 2}, {"L", 9}};
  const tools::Selection selection = tools::select_model(model(), {});
  std::vector<tools::StageGraph> stages;
  run_pipeline(tools::source_graph(selection.model, GraphKind::train),
               tools::options_for(GraphKind::train, DType::bf16, sizes),
               [&](std::string_view stage, const Graph& graph) {
                 stages.push_back({std::string(stage), graph});
               });
  const Arrays inputs = tools::random_inputs(stages.back().graph, sizes, {});
  EXPECT_FALSE(tools::find_wrong_pass(stages, sizes, inputs, [](size_t) {}));
  bool planted = false;
  for (tools::StageGraph& stage : stages) {  // from one of them on, the gate is another function
    planted = planted || stage.stage == "clean";
    for (uint32_t i = 0; planted && i < stage.graph.size(); ++i)
      if (Node& node = stage.graph.node(NodeId{i}); node.op == Op::Sigmoid && node.location.line == 14)
        node.op = Op::Tanh;
  }
  const auto wrong = tools::find_wrong_pass(stages, sizes, inputs, [](size_t) {});
  ASSERT_TRUE(wrong);
  EXPECT_EQ(wrong->pass, "clean");
  const Graph& after = std::ranges::find(stages, "clean", &tools::StageGraph::stage)->graph;
  EXPECT_EQ(after.node(wrong->node).op, Op::Tanh);
  EXPECT_NE(wrong->before, wrong->after);
}

struct Inside {
  size_t kernels = 0, values = 0;
  double worst = 0;
  std::string what;  // the worst value
};

/// Every kernel of a graph by itself, with all its values.
Inside look_into_all(Device& device, const std::string& spec, GraphKind kind, DType storage, Bindings sizes) {
  const tools::Selection selection = tools::select_model(spec, {});
  const Graph source = tools::source_graph(selection.model, kind);
  sizes = tools::with_default_sizes(source, sizes);
  PipelineOptions options = tools::options_for(kind, storage, sizes);
  options.fuse = tools::device_options(device.fuse_options(), options.fuse);
  const Graph fused = run_pipeline(source, options).graph;
  Inside inside;
  for (int number = 0; number < static_cast<int>(fused.kernels.size()); ++number) {
    if (fused.kernels[static_cast<size_t>(number)].kind == KernelGroup::library) continue;
    const Graph alone = kernel_alone(fused, number);
    verify(alone);
    const Schedule schedule = device.schedule(fused, number);
    const Program program(
        alone, [&](const Graph&, int) { return schedule; }, device);
    const Arrays inputs = tools::random_inputs(alone, sizes, {});
    const tools::FoundValues found = tools::run_once(program, sizes, inputs);
    EXPECT_EQ(found.size(), alone.outputs().size()) << fused.kernels[static_cast<size_t>(number)].name;
    for (const tools::ValueError& error : tools::check_values(alone, sizes, inputs, found, [](size_t) {})) {
      ++inside.values;
      if (error.of_bound <= inside.worst) continue;
      inside.worst = error.of_bound;
      inside.what = fused.kernels[static_cast<size_t>(number)].name + ": " + print_node(alone, error.node);
    }
    ++inside.kernels;
  }
  return inside;
}

class AllKernels : public testing::TestWithParam<std::tuple<const char*, GraphKind, DType>> {};

/// Values within kernels can be stored, and each op keeps the bound that the table gives it.
TEST_P(AllKernels, StoreTheirValuesWithinBounds) {
  const auto& [spec, kind, storage] = GetParam();
  const Inside inside = look_into_all(cpu_device(), spec, kind, storage, {{"L", 19}});
  EXPECT_GT(inside.kernels, 1u);
  EXPECT_GT(inside.values, 3 * inside.kernels);
  EXPECT_LE(inside.worst, 1) << inside.what;
  EXPECT_GT(inside.worst, 0.1) << "bounds that say nothing";
}

INSTANTIATE_TEST_SUITE_P(Models, AllKernels,
                         testing::Combine(testing::Values("mambabyte:tiny", "s5-diagonal:tiny", "mingru:tiny",
                                                          "rg-lru:tiny", "mamba-lm:tiny"),
                                          testing::Values(GraphKind::train), testing::Values(DType::f32, DType::bf16)));
INSTANTIATE_TEST_SUITE_P(Prefill, AllKernels,
                         testing::Combine(testing::Values("mambabyte:tiny"), testing::Values(GraphKind::prefill),
                                          testing::Values(DType::f32, DType::bf16)));

TEST_F(Compare, EmulatedKernelsStoreTheirValuesToo) {
  const std::unique_ptr<Device> device = emulated_cuda_device();
  for (const GraphKind kind : {GraphKind::train, GraphKind::step}) {
    const Inside inside = look_into_all(*device, model(), kind, DType::bf16, {{"L", 11}});
    EXPECT_LE(inside.worst, 1) << inside.what;
  }
}

TEST_F(Compare, SaysWhenAFaultIsGoneOnceInnerValuesAreStored) {
  const auto device = faulty_device({.op = Op::Softplus, .compilations = 1});
  const tools::Comparison comparison = compare_on(*device, model(), GraphKind::eval, DType::f32);
  ASSERT_TRUE(comparison.wrong);
  EXPECT_NE(comparison.wrong->note.find("depends on what the kernel stores, or on where"), std::string::npos)
      << comparison.wrong->note;
  EXPECT_EQ(comparison.wrong->value.name, "y");
}

/// Integers, which a kernel by itself does not store.
const char* kLookUp = R"(free B, L
model m<D = 6, V = 256>(x: [B, L, D]) {
  param table: [V, D] = normal(0, 1)
  return y = gather<V>(table, cast<u8>(99.5 * abs(at<D, 0>(x))))
})";

TEST_F(Compare, IntegersAreRight) {
  folder.write("m.mb", kLookUp);
  succeed(folder, "mambac compare m.mb --graph prefill");
}

TEST_F(Compare, NamesIntegersThatAreWrong) {
  const std::string file = folder.write("m.mb", kLookUp).string();
  const auto device = faulty_device({.op = Op::Mul, .factor = 1.5, .compilations = 1});
  const tools::Comparison comparison = compare_on(*device, file, GraphKind::prefill, DType::f32);
  ASSERT_TRUE(comparison.wrong);
  EXPECT_EQ(comparison.wrong->value.op, Op::Cast);
  EXPECT_EQ(comparison.wrong->value.found, std::floor(comparison.wrong->value.found));
}

TEST_F(Compare, Mistakes) {
  for (const auto& [options, message] : {std::pair{"--devices cpu", "two different devices"},
                                         {"--devices cpu,cpu", "two different devices"},
                                         {"--devices cpu,refrence", "did you mean 'reference'"}}) {
    const Outcome outcome = shell(folder, "mambac compare small.mb " + std::string(options));
    EXPECT_EQ(outcome.code, 2) << options;
    EXPECT_NE(outcome.error.find(message), std::string::npos) << outcome.error;
  }
  const Outcome outcome = shell(folder, "mambac compare small.mb --graph forward");
  EXPECT_EQ(outcome.code, 1);
}

}  // namespace
}  // namespace mambac::test
