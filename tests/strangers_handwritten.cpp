#include <fmt/format.h>

#include "ir/builder.h"
#include "tests/strangers.h"

namespace mambac::test {

namespace {

/// A graph over B, L, D (and N) under construction.
struct Page {
  explicit Page(const std::string& name, int64_t channels, int64_t states = 0) : b(stranger.graph) {
    stranger.name = name;
    stranger.graph.name = name;
    Graph& g = stranger.graph;
    B = g.add_dim("B", 0);
    L = g.add_dim("L", 0);
    D = g.add_dim("D", channels);
    if (states > 0) N = g.add_dim("N", states);
    stranger.bindings = {{"B", 2}, {"L", 70}};
  }

  NodeId input(const std::string& name, const std::vector<DimId>& dims) { return b.input(name, {DType::f32, dims}); }
  NodeId param(const std::string& name, const std::vector<DimId>& dims) {
    return b.param(name, {DType::f32, dims}, {fmt::format("w.{}", name), {Initialiser::normal, 0, 1}, true});
  }
  Stranger finish(const std::string& text, NodeId out, int most, int fewest) {
    stranger.graph.outputs() = {{"out", out}};
    stranger.text = text;
    stranger.most_kernels = most;
    stranger.fewest_kernels = fewest;
    return std::move(stranger);
  }

  Stranger stranger;
  Builder b;
  DimId B, L, D, N;
};

/// h[t] = r[t] exp(i w[t]) h[t-1] + b u[t], w = dt * omega. With the phase p[t] = w[0] + ... + w[t], g[t] = exp(-i
/// p[t]) h[t] obeys g[t] = r[t] g[t-1] + exp(-i p[t]) b u[t]: two real scans; the phase is a third.
Stranger complex_pairs() {
  Page p("complex-pairs", 24, 5);
  Builder& b = p.b;
  NodeId u = p.input("u", {p.B, p.L, p.D}), dt = b.Softplus(p.input("dt", {p.B, p.L, p.D}));
  NodeId decay = b.Exp(b.Neg(b.Mul(dt, b.Softplus(p.param("nu", {p.D, p.N})))));
  b.hint = "phase";
  NodeId phase = b.scan(b.constant(1), b.Mul(p.param("omega", {p.D, p.N}), dt), p.L);
  NodeId cosine = b.Cos(phase), sine = b.Sin(phase);
  NodeId input = b.Mul(u, p.param("b", {p.N, p.D}));
  b.hint = "re";
  NodeId re = b.scan(decay, b.Mul(input, cosine), p.L);
  b.hint = "im";
  NodeId im = b.scan(decay, b.Neg(b.Mul(input, sine)), p.L);
  b.hint = "h_re";
  NodeId h_re = b.Sub(b.Mul(re, cosine), b.Mul(im, sine));
  b.hint = "h_im";
  NodeId h_im = b.Add(b.Mul(re, sine), b.Mul(im, cosine));
  b.hint = "out";
  NodeId out = b.Sub(b.sum(b.Mul(p.param("c_re", {p.D, p.N}), h_re), {p.N}),
                     b.sum(b.Mul(h_im, p.param("c_im", {p.D, p.N})), {p.N}));
  return p.finish("a diagonal complex SSM as pairs: phase, real and imaginary part are three scans", out, 3, 1);
}

Stranger lru_gated_input() {
  Page p("lru-gated-input", 40);
  Builder& b = p.b;
  NodeId x = p.input("x", {p.B, p.L, p.D});
  NodeId decay = b.Exp(b.Neg(b.Exp(p.param("nu", {p.D}))));
  NodeId scale = b.Sqrt(b.Sub(b.constant(1), b.Mul(decay, decay)));
  NodeId gate = b.Sigmoid(b.Add(b.Mul(p.param("w", {p.D}), x), p.param("bias", {p.D})));
  b.hint = "h";
  NodeId h = b.scan(decay, b.Mul(b.Mul(x, gate), scale), p.L);
  b.hint = "out";
  return p.finish("an LRU with a fixed decay and a gate on its input only", b.Add(b.Mul(x, p.param("skip", {p.D})), h),
                  1, 1);
}

Stranger scan_feeding_scan() {
  Page p("scan-feeding-scan", 17, 4);
  Builder& b = p.b;
  NodeId x = p.input("x", {p.B, p.L, p.D}), s = p.input("s", {p.B, p.L, p.N}), z = p.input("z", {p.B, p.L, p.D});
  b.hint = "h1";
  NodeId first = b.scan(b.Sigmoid(b.Add(z, p.param("a1", {p.D, p.N}))), b.Mul(s, x), p.L);
  b.hint = "y1";
  NodeId y = b.dot(first, p.param("c1", {p.N, p.D}), {p.N});
  b.hint = "h2";
  NodeId second = b.scan(b.Sigmoid(z), b.Mul(b.Tanh(y), b.Sigmoid(x)), p.L);
  b.hint = "out";
  return p.finish("a scan with N that feeds a scan without", b.Mul(second, b.Mul(z, b.Sigmoid(z))), 2, 1);
}

Stranger norm_then_recurrence() {
  Page p("norm-then-recurrence", 33);
  Builder& b = p.b;
  NodeId x = p.input("x", {p.B, p.L, p.D});
  b.hint = "norm";
  NodeId square = b.Div(b.sum(b.Mul(x, x), {p.D}), b.op(Op::Extent, {}, {.dims = {p.D}}));
  NodeId normed = b.Mul(p.param("norm_w", {p.D}), b.Mul(x, b.Rsqrt(b.Add(square, b.constant(1e-5)))));
  b.hint = "h";
  NodeId decay = b.Sigmoid(b.Add(b.Mul(normed, p.param("w", {p.D})), p.param("bias", {p.D})));
  NodeId h = b.scan(decay, b.Mul(b.Sub(b.constant(1), decay), normed), p.L);
  b.hint = "out";
  return p.finish("a recurrence without N whose input is a norm's output", b.Add(h, x), 2, 2);
}

Stranger softmax_decay() {
  Page p("softmax-decay", 24, 8);
  Builder& b = p.b;
  NodeId x = p.input("x", {p.B, p.L, p.D}), s = p.input("s", {p.B, p.L, p.N}), c = p.input("c", {p.B, p.L, p.N});
  b.hint = "decay";
  NodeId logits = b.Add(b.Mul(x, p.param("a", {p.D, p.N})), s);
  NodeId shifted = b.Exp(b.Sub(logits, b.Stop(b.op(Op::Amax, {logits}, {.dims = {p.N}}))));
  NodeId decay = b.Div(shifted, b.sum(shifted, {p.N}));
  b.hint = "h";
  NodeId h = b.scan(decay, b.Mul(b.Sub(b.constant(1), decay), x), p.L);
  b.hint = "out";
  return p.finish("a decay that is a softmax over N", b.dot(c, h, {p.N}), 1, 1);
}

}  // namespace

std::vector<Stranger> handwritten_strangers() {
  return {complex_pairs(), lru_gated_input(), scan_feeding_scan(), norm_then_recurrence(), softmax_decay()};
}

}  // namespace mambac::test
