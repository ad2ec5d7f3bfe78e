// Outputs that lie where an input does: computed in place the same bytes come out, and what cannot be is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>

#include "ir/builder.h"
#include "ir/error.h"
#include "passes/fuse.h"
#include "runtime/cuda/emulated_device.h"
#include "runtime/program.h"

namespace mambac {
namespace {

constexpr int64_t kRows = 5;

struct InPlace : testing::TestWithParam<int64_t> {  // lanes: whole vectors, with a rest, and enough for many tasks
  InPlace() : build(graph), rows(graph.add_dim("B", 0)), lanes(graph.add_dim("D", GetParam())) {
    x = build.input("x", {DType::f32, {rows, lanes}});
    y = build.input("y", {DType::f32, {rows, lanes}});
  }

  /// Compiles the outputs and gives every port memory of its own.
  void compile(std::vector<Output> outputs) {
    graph.outputs() = std::move(outputs);
    Remarks remarks;
    program = std::make_unique<Program>(fuse(graph, {}, remarks));
    executable = program->instantiate({{"B", kRows}});
    for (const auto* ports : {&executable->inputs(), &executable->outputs()})
      for (const Port& port : *ports) {
        memory[port.name].assign(static_cast<size_t>(port.elements) + 1, 0.0f);
        executable->bind(port.name, memory[port.name].data());
      }
    fill();
  }

  void fill() {
    for (const char* input : {"x", "y"})
      for (size_t i = 0; i < memory[input].size(); ++i)
        memory[input][i] = std::sin(static_cast<float>(i * (input[0] == 'x' ? 3 : 5) + 1));
  }

  std::vector<float> values(const std::string& name) const {
    return {memory.at(name).begin(), memory.at(name).end() - 1};
  }

  /// The output in the place of the input, against what it is apart from it.
  void expect_in_place(const std::string& output, const std::string& input) {
    fill();
    executable->bind(output, memory[output].data());
    executable->run();
    const std::vector<float> apart = values(output);
    executable->bind(output, memory[input].data());
    executable->run();
    EXPECT_EQ(values(input), apart) << output << " in place of " << input;
    executable->bind(output, memory[output].data());
  }

  void expect_refused(const std::string& output, float* place, const std::string& other) {
    executable->bind(output, place);
    try {
      executable->run();
      ADD_FAILURE() << output << " was computed in place of " << other;
    } catch (const InternalError& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("output " + output + " "), std::string::npos) << text;
      EXPECT_NE(text.find("put " + other + ","), std::string::npos) << text;
    }
    executable->bind(output, memory[output].data());
  }

  Graph graph;
  Builder build;
  DimId rows, lanes;
  NodeId x, y;
  std::unique_ptr<Program> program;
  std::unique_ptr<Executable> executable;
  std::map<std::string, std::vector<float>> memory;
};

TEST_P(InPlace, ElementByElement) {
  compile({{"sum", build.Add(build.Mul(x, x), y)}});
  expect_in_place("sum", "x");
  expect_in_place("sum", "y");
}

TEST_P(InPlace, ReadTwiceButStoredLast) {
  const NodeId squares = build.sum(build.Mul(x, x), {lanes});
  compile({{"unit", build.Mul(x, build.Rsqrt(build.Add(squares, y)))}});
  expect_in_place("unit", "x");
}

TEST_P(InPlace, SeveralAtOnce) {
  compile({{"a", build.Sub(x, y)}, {"b", build.Mul(build.Sub(x, y), y)}});
  executable->run();
  const std::vector<float> a = values("a"), b = values("b");
  executable->bind("b", memory["y"].data());
  executable->run();
  EXPECT_EQ(values("y"), b);
  EXPECT_EQ(values("a"), a);
}

TEST_P(InPlace, RefusedWhereAnotherElementIsRead) {
  compile({{"sum", build.Add(x, build.at(x, lanes, 0))}});
  expect_refused("sum", memory["x"].data(), "x");
}

TEST_P(InPlace, RefusedWhereALaterKernelReads) {
  const NodeId total = build.sum(x, {rows});
  compile({{"twice", build.Add(x, x)}, {"share", build.Mul(x, total)}});
  expect_refused("twice", memory["x"].data(), "x");
  expect_in_place("share", "x");
}

TEST_P(InPlace, RefusedWhereOnlyAPartIsShared) {
  compile({{"sum", build.Add(x, y)}});
  expect_refused("sum", memory["x"].data() + 1, "x");
}

TEST_P(InPlace, RefusedForTwoOutputs) {
  compile({{"sum", build.Add(x, y)}, {"product", build.Mul(x, y)}});
  executable->bind("product", memory["x"].data());
  expect_refused("sum", memory["x"].data(), "x");
}

INSTANTIATE_TEST_SUITE_P(Lanes, InPlace, testing::Values(64, 37, 2085));

/// x + x * y in the place of x.
void expect_vector_in_place(int64_t elements, Device& device) {
  Graph graph;
  Builder build(graph);
  const Type type{DType::f32, {graph.add_dim("P", elements)}};
  const NodeId x = build.input("x", type), y = build.input("y", type);
  graph.outputs() = {{"sum", build.Add(x, build.Mul(x, y))}};
  Remarks remarks;
  const Program program(fuse(graph, {}, remarks), {}, device);
  const auto executable = program.instantiate({});
  std::vector<float> a(static_cast<size_t>(elements)), b(a.size(), 0.5f), sum(a.size());
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i);
  executable->bind("x", a.data());
  executable->bind("y", b.data());
  executable->bind("sum", sum.data());
  executable->run();
  executable->bind("sum", a.data());
  executable->run();
  EXPECT_EQ(a, sum);
}

TEST(InPlaceOfAVector, TasksShareTheLanes) { expect_vector_in_place(5003, cpu_device()); }

/// More than a block's threads keep in registers.
TEST(InPlaceOfAVector, ThreadsShareTheLanes) { expect_vector_in_place(70003, *emulated_cuda_device()); }

/// Of a graph that no pass makes and verify() refuses: its walk reads flags of steps to come, which it computes itself.
TEST(ProgramMemory, WhatNothingPlacedIsNoAddress) {
  Graph graph;
  Builder build(graph);
  const DimId steps = graph.add_dim("L", 0), lanes = graph.add_dim("D", 6);
  const NodeId x = build.input("x", {DType::f32, {steps, lanes}}), s = build.input("s", {DType::f32, {steps}});
  const NodeId flags = build.op(Op::Lt, {s, build.constant(0)});
  const NodeId y = build.scan(build.constant(0.5), x, steps, false, {}, flags);
  for (const NodeId id : {flags, y}) graph.node(id).kernel = 0;
  graph.kernels = {{KernelGroup::walk, "k0", steps, false, lanes, {}, {}}};
  graph.outputs() = {{"y", y}};
  const Program program(graph);
  const auto executable = program.instantiate({{"L", 3}});
  std::map<std::string, std::vector<float>> memory;
  for (const char* port : {"x", "s", "y"}) executable->bind(port, (memory[port] = std::vector<float>(18)).data());
  try {
    executable->run();
    FAIL() << "the flags have no memory";
  } catch (const InternalError& failure) {
    EXPECT_NE(std::string(failure.what()).find("k0 comes to"), std::string::npos) << failure.what();
  }
}

}  // namespace
}  // namespace mambac
