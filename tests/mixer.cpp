#include "tests/mixer.h"

#include <fmt/format.h>

#include <numeric>

#include "ir/builder.h"

namespace mambac::test {

namespace {

int64_t product(const std::vector<int64_t>& shape, size_t begin, size_t end) {
  return std::accumulate(shape.begin() + static_cast<long>(begin), shape.begin() + static_cast<long>(end), int64_t{1},
                         std::multiplies<>());
}

double sum_of(const Array& array) {
  return std::accumulate(array.data.begin(), array.data.end(), 0.0);
}

}  // namespace

Mixer make_mixer(const MixerOptions& options) {
  Mixer mixer;
  Graph& g = mixer.graph;
  Builder b(g);
  DimId B = g.add_dim("B", 0), L = g.add_dim("L", 0), E = g.add_dim("E", options.width),
        D = g.add_dim("D", options.channels);
  DimId N = g.add_dim("N", options.states), R = g.add_dim("R", options.rank), K = g.add_dim("K", options.taps);
  DimId C = g.add_dim("C", options.rank + 2 * options.states), two = g.add_dim("2", 2);
  auto param = [&](const std::string& name, std::vector<DimId> dims) {
    return b.param(name, {DType::f32, std::move(dims)},
                   {fmt::format("layers.0.{}", name), {Initialiser::normal, 0, 1}, true});
  };
  NodeId x = b.input("x", {DType::f32, {B, L, E}});
  NodeId starts = options.starts ? b.input("starts", {DType::f32, {B, L}}) : NodeId{};
  NodeId norm_w = param("norm_w", {E}), norm_b = param("norm_b", {E}), in_proj = param("in_proj", {two, D, E});
  NodeId conv_w = param("conv_w", {D, K}), conv_b = param("conv_b", {D}), x_proj = param("x_proj", {C, D});
  NodeId dt_proj = param("dt_proj", {D, R}), dt_bias = param("dt_bias", {D}), a_log = param("A_log", {D, N});
  NodeId skip = param("skip", {D}), out_proj = param("out_proj", {E, D});

  auto silu = [&](NodeId v) { return b.Mul(v, b.Sigmoid(v)); };
  NodeId size = b.op(Op::Extent, {}, {.dims = {E}});
  b.hint = "norm";
  NodeId centred = b.Sub(x, b.Div(b.sum(x, {E}), size));
  NodeId variance = b.Div(b.sum(b.Mul(centred, centred), {E}), size);
  NodeId normed = b.Add(b.Mul(b.Mul(centred, b.Rsqrt(b.Add(variance, b.constant(1e-5)))), norm_w), norm_b);
  b.hint = "xz";
  NodeId xz = b.dot(normed, in_proj, {E}), before = b.at(xz, two, 0);
  b.hint = "taps";
  NodeId taps = b.op(Op::Window, {before, {}, starts, {}}, {.dims = {L, K}});
  b.hint = "u";
  NodeId u = silu(b.Add(b.dot(taps, conv_w, {K}), conv_b));
  b.hint = "low";
  NodeId low = b.dot(u, x_proj, {D});
  b.hint = "dt";
  NodeId dt = b.Softplus(b.Add(b.dot(b.slice(low, C, R, 0), dt_proj, {R}), dt_bias));
  b.hint = "decay";
  NodeId decay = b.Exp(b.Mul(dt, b.Neg(b.Exp(a_log))));
  b.hint = "input";
  NodeId input = b.Mul(b.Mul(dt, b.slice(low, C, N, options.rank)), u);
  b.hint = "h";
  NodeId h = b.scan(decay, input, L, false, {}, starts);
  b.hint = "y";
  NodeId y = b.Add(b.sum(b.Mul(h, b.slice(low, C, N, options.rank + options.states)), {N}), b.Mul(skip, u));
  NodeId gated = b.Mul(y, silu(b.at(xz, two, 1)));
  b.hint = "out";
  NodeId out = b.Add(x, b.dot(gated, out_proj, {D}));
  g.outputs() = {{"out", out}};
  if (options.loss) {
    b.hint = "loss";
    g.outputs().push_back({"loss", b.Div(b.sum(b.Mul(out, out), {B, L, E}), b.op(Op::Extent, {}, {.dims = {B, L}}))});
  }
  mixer.ranges = {{"starts", {Range::mask, 0, 0.2}}, {"A_log", {Range::uniform, -1, 1}}};
  return mixer;
}

Array finite_differences(const Graph& graph, const Bindings& bindings, const Arrays& values, const std::string& name,
                         const std::string& by, double step) {
  Arrays moved = values;
  Array result = values.at(by);
  for (size_t i = 0; i < result.data.size(); ++i) {
    double& x = moved.at(by).data[i];
    const double middle = x;
    x = middle + step;
    const double above = sum_of(evaluate(graph, bindings, moved).at(name));
    x = middle - step;
    const double below = sum_of(evaluate(graph, bindings, moved).at(name));
    x = middle;
    result.data[i] = (above - below) / (2 * step);
  }
  return result;
}

Array cut(const Array& value, size_t axis, int64_t begin, int64_t end) {
  Array result{value.shape, {}};
  result.shape[axis] = end - begin;
  const int64_t outer = product(value.shape, 0, axis), inner = product(value.shape, axis + 1, value.shape.size());
  for (int64_t i = 0; i < outer; ++i) {
    auto from = value.data.begin() + (i * value.shape[axis] + begin) * inner;
    result.data.insert(result.data.end(), from, from + (end - begin) * inner);
  }
  return result;
}

Array join(const Array& first, const Array& second, size_t axis) {
  Array result{first.shape, {}};
  result.shape[axis] += second.shape[axis];
  const int64_t outer = product(first.shape, 0, axis);
  const int64_t a = product(first.shape, axis, first.shape.size()),
                b = product(second.shape, axis, second.shape.size());
  for (int64_t i = 0; i < outer; ++i) {
    result.data.insert(result.data.end(), first.data.begin() + i * a, first.data.begin() + (i + 1) * a);
    result.data.insert(result.data.end(), second.data.begin() + i * b, second.data.begin() + (i + 1) * b);
  }
  return result;
}

}  // namespace mambac::test
