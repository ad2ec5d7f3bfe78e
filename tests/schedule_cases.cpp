#include "tests/schedule_cases.h"

#include <gtest/gtest.h>

#include "ir/builder.h"
#include "passes/differentiate.h"
#include "passes/fuse.h"
#include "passes/simplify.h"
#include "passes/step_form.h"
#include "tests/mixer.h"

namespace mambac::test {

Case mixer_case(int64_t channels, int64_t states) {
  MixerOptions options;
  options.channels = channels;
  options.states = states;
  options.starts = true;
  Mixer mixer = make_mixer(options);
  return {simplify(expose_state(simplify(mixer.graph), *mixer.graph.find_dim("L"))), mixer.ranges};
}

Case mixer_gradients_case(int64_t channels, int64_t states) {
  MixerOptions options;
  options.channels = channels;
  options.states = states;
  options.starts = true;
  options.loss = true;
  Mixer mixer = make_mixer(options);
  return {simplify(differentiate(simplify(mixer.graph), "loss")), mixer.ranges};
}

Case scans_case(bool reverse, int64_t channels) {
  Case c;
  Builder b(c.graph);
  const DimId B = c.graph.add_dim("B", 0), L = c.graph.add_dim("L", 0), D = c.graph.add_dim("D", channels);
  const NodeId x = b.input("x", {DType::f32, {B, L, D}}), p = b.input("p", {DType::f32, {B, L}});
  const NodeId q = b.input("q", {DType::f32, {B, L}}), rate = b.input("rate", {DType::f32, {D}});
  const NodeId first = b.input("first", {DType::f32, {B, D}});
  const NodeId starts = reverse ? b.input("starts", {DType::f32, {B, L}}) : NodeId{};
  b.hint = "h";
  const NodeId h = b.scan(b.Sigmoid(rate), b.Mul(x, p), L, reverse, b.Mul(first, rate), starts);
  b.hint = "s";
  const NodeId s = b.scan(b.Sigmoid(q), p, L, reverse, {}, starts);
  c.graph.outputs() = {
      {"y", b.Add(h, s)}, {"h.last", b.at(h, L, reverse ? 0 : -1)}, {"s.last", b.at(s, L, reverse ? 0 : -1)}, {"s", s}};
  c.ranges = {{"starts", {Range::mask, 0, 0.2}}};
  return c;
}

Case reverse_states_case(int64_t channels, int64_t states) {
  Case c;
  Builder b(c.graph);
  const DimId B = c.graph.add_dim("B", 0), L = c.graph.add_dim("L", 0), D = c.graph.add_dim("D", channels);
  const DimId N = c.graph.add_dim("N", states);
  const NodeId dt = b.Sigmoid(b.input("dt", {DType::f32, {B, L, D}})), k = b.input("k", {DType::f32, {B, L, N}});
  const NodeId rate = b.input("rate", {DType::f32, {D, N}}), first = b.input("first", {DType::f32, {B, D, N}});
  const NodeId starts = b.input("starts", {DType::f32, {B, L}});
  b.hint = "h";
  const NodeId h = b.scan(b.Exp(b.Mul(dt, b.Neg(b.Exp(rate)))), b.Mul(dt, k), L, true, first, starts);
  b.hint = "y";
  c.graph.outputs() = {{"y", b.sum(b.Mul(h, k), {N})}, {"last", b.at(h, L, 0)}};
  c.ranges = {{"starts", {Range::mask, 0, 0.2}}};
  return c;
}

Case growth_case(bool reverse, int64_t channels) {
  Case c;
  Builder b(c.graph);
  const DimId B = c.graph.add_dim("B", 0), L = c.graph.add_dim("L", 0), D = c.graph.add_dim("D", channels);
  const NodeId x = b.input("x", {DType::f32, {B, L, D}}), rate = b.input("rate", {DType::f32, {B, L, D}});
  const NodeId h = b.scan(b.Add(b.constant(3.5), b.Sigmoid(rate)), x, L, reverse);
  c.graph.outputs() = {{"h", h}, {"last", b.at(h, L, reverse ? 0 : -1)}};
  return c;
}

Arrays growth_values(const Case& growth, const Bindings& bindings, bool reverse) {
  constexpr int64_t kLastSteps = 8;
  Arrays values = draw_values(growth.graph, bindings, growth.ranges, 29);
  Array& x = values.at("x");
  const int64_t length = x.shape[1], channels = x.shape[2];
  for (size_t i = 0; i < x.data.size(); ++i) {
    const int64_t t = static_cast<int64_t>(i) / channels % length;
    if ((reverse ? length - 1 - t : t) < length - kLastSteps) x.data[i] = 0;
  }
  return values;
}

Case gradients_of(Case c) {
  c.graph = simplify(differentiate_with_seeds(c.graph));
  return c;
}

Case windows_case(int64_t taps, bool packed, int64_t channels) {
  Case c;
  Builder b(c.graph);
  const DimId B = c.graph.add_dim("B", 0), L = c.graph.add_dim("L", 0), D = c.graph.add_dim("D", channels);
  const DimId K = c.graph.add_dim("K", taps), M = c.graph.add_dim("M", 3);
  const NodeId x = b.input("x", {DType::f32, {B, L, D}});
  const NodeId first = packed ? b.input("first", {DType::f32, {B, D, K}}) : NodeId{};
  const NodeId starts = packed ? b.input("starts", {DType::f32, {B, L}}) : NodeId{};
  const NodeId wide = b.op(Op::Window, {x, first, starts, {}}, {.dims = {L, K}});
  const NodeId c1 = b.Sigmoid(b.dot(wide, b.input("w", {DType::f32, {D, K}}), {K}));
  const NodeId narrow = b.op(Op::Window, {c1, {}, starts, {}}, {.dims = {L, M}});
  const NodeId c2 = b.dot(narrow, b.input("v", {DType::f32, {D, M}}), {M});
  const NodeId y = b.Mul(c1, b.delay(c2, L, false, {}, starts));
  c.graph.outputs() = {{"y", y}, {"last", b.at(y, L, -1)}, {"sum", b.sum(y, {L})}, {"total", b.sum(y, {B, L, D})}};
  c.ranges = {{"starts", {Range::mask, 0, 0.2}}};
  return c;
}

Graph fused(const Graph& graph) {
  Remarks remarks;
  return fuse(graph, {}, remarks);
}

int kernel_of(const Graph& fused, Op op) {
  for (const Node& node : fused.nodes())
    if (node.op == op) return node.kernel;
  ADD_FAILURE() << "no node of this op";
  return 0;
}

}  // namespace mambac::test
