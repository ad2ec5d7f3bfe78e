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

/// The second recurrence reads what the first leaves, along the other side of the plane.
Stranger plane_with_states() {
  Page p("plane-with-states", 24, 4);
  Builder& b = p.b;
  const DimId W = p.stranger.graph.add_dim("W", 0);
  p.stranger.bindings = {{"B", 2}, {"L", 19}, {"W", 11}};
  NodeId x = p.input("x", {p.B, p.L, W, p.D}), dt = b.Softplus(x);
  auto scanned = [&](NodeId u, DimId along, const std::string& name) {
    NodeId rate = b.Neg(b.Softplus(p.param("a_" + name, {p.D, p.N})));
    NodeId input = b.Mul(b.Mul(dt, u), p.param("b_" + name, {p.D, p.N}));
    b.hint = "h_" + name;
    NodeId h = b.scan(b.Exp(b.Mul(dt, rate)), input, along);
    return b.dot(h, p.param("c_" + name, {p.D, p.N}), {p.N});
  };
  NodeId rows = scanned(x, W, "rows");
  NodeId columns = scanned(b.Tanh(rows), p.L, "columns");
  b.hint = "out";
  return p.finish("a plane walked along both of its sides, with states", b.Add(rows, columns), 2, 2);
}

/// Four recurrences with the same decays and inputs, along both sides of a plane and both ways, whose states are added
/// up.
Stranger four_directions() {
  Page p("four-directions", 24, 4);
  Builder& b = p.b;
  const DimId W = p.stranger.graph.add_dim("W", 0);
  p.stranger.bindings = {{"B", 2}, {"L", 19}, {"W", 11}};
  NodeId x = p.input("x", {p.B, p.L, W, p.D}), dt = b.Softplus(p.input("dt", {p.B, p.L, W, p.D}));
  NodeId decay = b.Exp(b.Mul(dt, b.Neg(b.Softplus(p.param("a", {p.D, p.N})))));
  NodeId input = b.Mul(b.Mul(dt, x), p.input("keys", {p.B, p.L, W, p.N}));
  NodeId across = b.Sub(b.scan(decay, input, W), b.scan(decay, input, W, true));
  NodeId h = b.Add(b.Add(across, b.scan(decay, input, p.L)), b.scan(decay, input, p.L, true));
  b.hint = "out";
  return p.finish("a plane walked in four directions", b.dot(h, p.input("queries", {p.B, p.L, W, p.N}), {p.N}), 4, 4);
}

/// C[t] = f C[t-1] + i v k of every head, read by q, over what the same recurrence makes of k alone.
Stranger matrix_memory() {
  Page p("matrix-memory", 16, 5);  // D: values of a head
  Builder& b = p.b;
  const DimId H = p.stranger.graph.add_dim("H", 3);
  NodeId q = p.input("q", {p.B, p.L, H, p.N}), k = p.input("k", {p.B, p.L, H, p.N});
  k = b.Mul(k, p.param("k_scale", {H, p.N}));
  NodeId v = b.Mul(p.input("v", {p.B, p.L, H, p.D}), p.param("v_scale", {H, p.D}));
  NodeId f = b.Sigmoid(b.Add(p.input("f", {p.B, p.L, H}), p.param("f_bias", {H})));
  NodeId i = b.Exp(b.Neg(b.Softplus(b.Add(p.input("i", {p.B, p.L, H}), p.param("i_bias", {H})))));
  b.hint = "C";
  NodeId memory = b.scan(f, b.Mul(b.Mul(i, v), k), p.L);
  b.hint = "n";
  NodeId normaliser = b.scan(f, b.Mul(i, k), p.L);
  NodeId size = b.Sqrt(b.Add(b.constant(1), b.Mul(b.dot(normaliser, q, {p.N}), b.dot(normaliser, q, {p.N}))));
  b.hint = "out";
  return p.finish("a gated matrix memory with heads, and its normaliser", b.Div(b.dot(memory, q, {p.N}), size), 1, 1);
}

/// Channels split into heads: what is projected onto them, and from them, is a matrix like any other.
Stranger heads() {
  Page p("heads", 16, 5);  // D: channels of a head
  Builder& b = p.b;
  const DimId E = p.stranger.graph.add_dim("E", 24), H = p.stranger.graph.add_dim("H", 3);
  p.stranger.bindings = {{"B", 2}, {"L", 33}};
  NodeId x = p.input("x", {p.B, p.L, E});
  NodeId v = b.dot(x, p.param("w_v", {H, p.D, E}), {E}), z = b.dot(x, p.param("w_z", {H, p.D, E}), {E});
  NodeId k = b.dot(x, p.param("w_k", {p.N, E}), {E}), q = b.dot(x, p.param("w_q", {p.N, E}), {E});
  NodeId dt = b.Softplus(b.Add(b.dot(x, p.param("w_dt", {H, E}), {E}), p.param("dt_bias", {H})));
  NodeId decay = b.Exp(b.Mul(dt, b.Neg(b.Softplus(p.param("a", {H})))));
  b.hint = "h";
  NodeId h = b.scan(decay, b.Mul(b.Mul(dt, v), k), p.L);
  NodeId y = b.Add(b.dot(h, q, {p.N}), b.Mul(p.param("skip", {H}), v));
  b.hint = "out";
  NodeId out = b.dot(b.Mul(y, b.Mul(z, b.Sigmoid(z))), p.param("w_o", {E, H, p.D}), {H, p.D});
  return p.finish("one decay for each head, between projections", out, 1, 1);
}

/// More heads than fit an inner loop, with keys that they share and that somebody else wants, too.
Stranger many_heads() {
  Page p("many-heads", 8, 2);  // D: channels of a head
  Builder& b = p.b;
  const DimId H = p.stranger.graph.add_dim("H", 260);
  p.stranger.bindings = {{"B", 2}, {"L", 9}};
  NodeId v = p.input("v", {p.B, p.L, H, p.D}), q = p.input("q", {p.B, p.L, p.N});
  b.hint = "keys";
  NodeId k = b.Mul(p.input("k", {p.B, p.L, p.N}), p.param("k_scale", {p.N}));
  NodeId decay = b.Sigmoid(b.Add(p.input("f", {p.B, p.L, H}), p.param("f_bias", {H})));
  b.hint = "h";
  NodeId h = b.scan(decay, b.Mul(v, k), p.L);
  b.hint = "out";
  Stranger result = p.finish("more heads than an inner loop can have", b.dot(h, q, {p.N}), 1, 1);
  result.graph.outputs().push_back({"keys", k});
  return result;
}

/// Three channels that a filter of four taps over one sequence drives: the taps are more than the lanes.
Stranger taps_without_channels() {
  Page p("taps-without-channels", 3);
  Builder& b = p.b;
  const DimId K = p.stranger.graph.add_dim("K", 4);
  NodeId taps = b.op(Op::Window, {p.input("u", {p.B, p.L}), {}, {}, {}}, {.dims = {p.L, K}});
  NodeId u = b.dot(taps, p.param("filter", {K}), {K});
  NodeId decay = b.Sigmoid(b.Add(p.input("f", {p.B, p.L, p.D}), p.param("f_bias", {p.D})));
  b.hint = "out";
  return p.finish("a filter without channels before a recurrence of few", b.scan(decay, b.Tanh(u), p.L), 1, 1);
}

/// A filter of four taps for each head decides how long its channels remember: its taps are no channels.
Stranger taps_of_heads() {
  Page p("taps-of-heads", 8);  // D: channels of a head
  Builder& b = p.b;
  const DimId H = p.stranger.graph.add_dim("H", 3), K = p.stranger.graph.add_dim("K", 4);
  NodeId taps = b.op(Op::Window, {p.input("s", {p.B, p.L, H}), {}, {}, {}}, {.dims = {p.L, K}});
  NodeId decay = b.Sigmoid(b.dot(taps, p.param("filter", {H, K}), {K}));
  b.hint = "out";
  NodeId out = b.scan(decay, p.input("v", {p.B, p.L, H, p.D}), p.L);
  return p.finish("a filter for each head before a recurrence of its channels", out, 1, 1);
}

/// A plane of numbers: neighbours are lanes where they are not walked.
Stranger plane_without_channels() {
  Page p("plane-without-channels", 1);
  Builder& b = p.b;
  const DimId W = p.stranger.graph.add_dim("W", 0);
  p.stranger.bindings = {{"B", 2}, {"L", 19}, {"W", 37}};
  NodeId x = p.input("x", {p.B, p.L, W}), keep = b.Sigmoid(b.Add(p.input("f", {p.B, p.L, W}), p.param("f_bias", {})));
  NodeId rows = b.scan(keep, x, W);
  NodeId columns = b.scan(keep, b.Tanh(rows), p.L, true);
  b.hint = "out";
  return p.finish("a plane of numbers walked along both of its sides", b.Mul(rows, columns), 2, 2);
}

}  // namespace

std::vector<Stranger> handwritten_strangers() {
  return {complex_pairs(), lru_gated_input(),       scan_feeding_scan(), norm_then_recurrence(),
          softmax_decay(), plane_with_states(),     matrix_memory(),     heads(),
          many_heads(),    taps_without_channels(), taps_of_heads(),     four_directions(),
          plane_without_channels()};
}

Stranger handwritten_stranger(const std::string& name) {
  for (Stranger& s : handwritten_strangers())
    if (s.name == name) return std::move(s);
  throw InternalError("there is no stranger " + name);
}

}  // namespace mambac::test
