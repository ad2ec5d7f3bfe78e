// A small graph with named dimensions and random inputs, for tests of single ops.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "ir/builder.h"
#include "ir/dims.h"
#include "ir/eval.h"
#include "ir/gradient.h"
#include "ir/verify.h"

namespace mambac {

struct Bench {
  Graph graph;
  Builder b{graph};
  DimId B = graph.add_dim("B", 0), L = graph.add_dim("L", 0);
  DimId D = graph.add_dim("D", 3), N = graph.add_dim("N", 2), K = graph.add_dim("K", 4);
  DimId M = graph.add_dim("M", 0);
  DimId tiles = graph.add_tiles(L, 3);
  Bindings bindings{{"B", 2}, {"L", 7}, {"M", 7}};
  Arrays values;
  std::mt19937_64 random_bits{7};

  double random(double low, double high) {
    return low + (high - low) * (static_cast<double>(random_bits() >> 11) * 0x1p-53);
  }
  /// An f32 input with values in [low, high).
  NodeId in(const std::string& name, Dims dims, double low = -1, double high = 1) {
    NodeId id = b.input(name, {DType::f32, std::move(dims)});
    Array& array = fill(id);
    for (double& value : array.data) value = random(low, high);
    return id;
  }
  /// An integer input with values in [0, count).
  NodeId ids(const std::string& name, Dims dims, int count) {
    NodeId id = b.input(name, {DType::i32, std::move(dims)});
    Array& array = fill(id);
    for (double& value : array.data) value = static_cast<double>(random_bits() % count);
    return id;
  }
  NodeId given(const std::string& name, Type type, std::vector<double> data) {
    NodeId id = b.input(name, std::move(type));
    values[name] = {shape_of(graph, graph.node(id).type, bindings), std::move(data)};
    return id;
  }
  NodeId f32(const std::string& name, Dims dims, std::vector<double> data) {
    return given(name, {DType::f32, std::move(dims)}, std::move(data));
  }
  /// starts over [B, L]: a start in the middle of each row, and one at the first step of the second.
  NodeId starts() { return given("starts", {DType::u8, {B, L}}, {0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 1, 0}); }

  Array run(NodeId node, EvalOptions options = {}) {
    graph.outputs() = {{"out", node}};
    return evaluate(graph, bindings, values, options).at("out");
  }
  const Type& type(NodeId node) const { return graph.node(node).type; }

 private:
  Array& fill(NodeId id) {
    Array& array = values[graph.node(id).name];
    array = {shape_of(graph, type(id), bindings), {}};
    array.data.resize(elements_of(graph, type(id), bindings));
    return array;
  }
};

inline void expect_near(const std::vector<double>& found, const std::vector<double>& expected,
                        double tolerance = 1e-12) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], tolerance) << "element " << i;
}

/// The message of the failure that `action` throws, "" when it throws none.
template <typename Error, typename Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

inline void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
}

}  // namespace mambac
