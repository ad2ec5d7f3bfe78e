// The shipped blocks mean what their papers say: the float64 reference against the formulas written out by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "frontend/model.h"
#include "ir/eval.h"

namespace mambac {
namespace {

class Values {
 public:
  Values(const Graph& graph, const Bindings& bindings, uint64_t seed = 7) {
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> uniform(-1, 1);
    for (const Node& node : graph.nodes()) {
      if (node.op != Op::Input && node.op != Op::Param) continue;
      Array array{shape_of(graph, node.type, bindings), {}};
      array.data.resize(static_cast<size_t>(elements_of(graph, node.type, bindings)));
      for (double& x : array.data)
        x = is_float(node.type.dtype) ? uniform(random) : std::floor(4 * (uniform(random) + 1));
      all[node.name] = std::move(array);
    }
  }
  const std::vector<double>& operator[](const std::string& name) const { return all.at(name).data; }

  Arrays all;
};

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double silu(double x) {
  return x * sigmoid(x);
}
double softplus(double x) {
  return std::log1p(std::exp(x));
}

void expect_near(const std::vector<double>& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i)
    EXPECT_NEAR(found[i], expected[i], 1e-12 * (1 + std::abs(expected[i]))) << i;
}

/// Mamba's block for one sequence, as its paper's reference loop has it.
std::vector<double> mamba_block(const Values& v, int L, int E, int D, int N, int K, int R) {
  const int C = R + 2 * N;
  std::vector<double> out(static_cast<size_t>(L) * E), path(L * D), gate(L * D), u(L * D), h(D * N, 0.0);
  for (int t = 0; t < L; ++t) {
    for (int d = 0; d < D; ++d) {
      for (int e = 0; e < E; ++e) {
        path[t * D + d] += v["x"][t * E + e] * v["in_proj"][d * E + e];
        gate[t * D + d] += v["x"][t * E + e] * v["in_proj"][(D + d) * E + e];
      }
      double taps = v["conv_b"][d];
      for (int k = 0; k < K; ++k) {
        if (t - (K - 1) + k >= 0) taps += path[(t - (K - 1) + k) * D + d] * v["conv_w"][d * K + k];
      }
      u[t * D + d] = silu(taps);
    }
    std::vector<double> low(C, 0.0);
    for (int c = 0; c < C; ++c) {
      for (int d = 0; d < D; ++d) low[c] += u[t * D + d] * v["x_proj"][c * D + d];
    }
    for (int d = 0; d < D; ++d) {
      double s = v["dt_bias"][d];
      for (int r = 0; r < R; ++r) s += low[r] * v["dt_proj"][d * R + r];
      const double dt = softplus(s);
      double y = v["skip"][d] * u[t * D + d];
      for (int n = 0; n < N; ++n) {
        double& state = h[d * N + n];
        state = std::exp(-dt * std::exp(v["A_log"][d * N + n])) * state + dt * low[R + n] * u[t * D + d];
        y += state * low[R + N + n];
      }
      for (int e = 0; e < E; ++e) out[t * E + e] += y * silu(gate[t * D + d]) * v["out_proj"][e * D + d];
    }
  }
  return out;
}

TEST(Meaning, TheMixerIsMamba) {
  const Graph graph =
      instantiate_block(load_model("mamba"), "mixer", {{"E", 6}, {"D", 5}, {"N", 3}, {"K", 4}, {"R", 2}});
  const Bindings bindings{{"B", 1}, {"L", 9}};
  const Values values(graph, bindings);
  expect_near(evaluate(graph, bindings, values.all).at("out").data, mamba_block(values, 9, 6, 5, 3, 4, 2));
}

TEST(Meaning, LayerNorm) {
  const Model model = model_from_text("free L model m<E = 5>(x: [L, E]) { return y = layer_norm<E>(x) }", "m.mb");
  const Graph graph = instantiate(model);
  const Bindings bindings{{"L", 1}};
  const Values v(graph, bindings);
  double mean = 0, variance = 0;
  for (const double x : v["x"]) mean += x / 5;
  for (const double x : v["x"]) variance += (x - mean) * (x - mean) / 5;
  std::vector<double> expected;
  for (int e = 0; e < 5; ++e) {
    expected.push_back((v["x"][e] - mean) / std::sqrt(variance + 1e-5) * v["weight"][e] + v["bias"][e]);
  }
  expect_near(evaluate(graph, bindings, v.all).at("y").data, expected);
}

TEST(Meaning, CrossEntropyIsTheNegativeLogProbability) {
  const Model model = model_from_text(
      "free L model m<V = 8>(logits: [L, V], targets: u8[L]) {\n"
      "  return nll = cross_entropy<V>(logits, targets), p = softmax<V>(logits), log_p = log_softmax<V>(logits)\n}",
      "m.mb");
  const Graph graph = instantiate(model);
  const Bindings bindings{{"L", 6}};
  const Values v(graph, bindings);
  const Arrays results = evaluate(graph, bindings, v.all);
  std::vector<double> nll, log_p;
  for (int t = 0; t < 6; ++t) {
    double total = 0;
    for (int c = 0; c < 8; ++c) total += std::exp(v["logits"][t * 8 + c]);
    nll.push_back(std::log(total) - v["logits"][t * 8 + static_cast<int>(v["targets"][t])]);
    for (int c = 0; c < 8; ++c) log_p.push_back(v["logits"][t * 8 + c] - std::log(total));
  }
  expect_near(results.at("nll").data, nll);
  expect_near(results.at("log_p").data, log_p);
  for (double& x : log_p) x = std::exp(x);
  expect_near(results.at("p").data, log_p);
}

TEST(Meaning, AdamW) {
  const Graph graph = instantiate_block(load_model("prelude"), "adamw", {{"P", 3}});
  Values v(graph, {});
  const std::map<std::string, double> settings = {{"lr", 0.01},       {"weight_decay", 0.1}, {"beta1", 0.9},
                                                  {"beta2", 0.95},    {"eps", 1e-8},         {"step", 4},
                                                  {"scale", 0.5}};
  for (const auto& [name, number] : settings) v.all[name].data = {number};
  for (double& x : v.all["v"].data) x = std::abs(x);
  const Arrays results = evaluate(graph, {}, v.all);
  std::vector<double> param, m, second;
  for (int i = 0; i < 3; ++i) {
    const double g = 0.5 * v["grad"][i];
    m.push_back(0.9 * v["m"][i] + 0.1 * g);
    second.push_back(0.95 * v["v"][i] + 0.05 * g * g);
    const double step = m[i] / (1 - std::pow(0.9, 4)) / (std::sqrt(second[i] / (1 - std::pow(0.95, 4))) + 1e-8);
    param.push_back(v["param"][i] - 0.01 * (step + 0.1 * v["param"][i]));
  }
  expect_near(results.at("param.next").data, param);
  expect_near(results.at("m.next").data, m);
  expect_near(results.at("v.next").data, second);
}

TEST(Meaning, RgLruKeepsItsSecondMoment) {
  const Graph graph = instantiate(load_model("rg-lru:tiny"));
  const Bindings bindings{{"B", 1}, {"L", 5}};
  const Values v(graph, bindings);
  const int L = 5, E = 16, D = 24, K = 4;
  std::vector<double> path(L * D), u(L * D), h(D, 0.0), expected(L * E);
  const auto dense = [&](const std::string& w, const double* in, int count, int row) {
    double sum = 0;
    for (int i = 0; i < count; ++i) sum += v[w][row * count + i] * in[i];
    return sum;
  };
  const auto gelu = [](double x) {
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  };
  for (int t = 0; t < L; ++t) {
    for (int d = 0; d < D; ++d) {
      path[t * D + d] = dense("path_w", &v["x"][t * E], E, d);
      u[t * D + d] = v["conv_b"][d];
      for (int k = 0; k < K; ++k) {
        if (t - (K - 1) + k >= 0) u[t * D + d] += path[(t - (K - 1) + k) * D + d] * v["conv_w"][d * K + k];
      }
    }
    for (int d = 0; d < D; ++d) {
      const double r = sigmoid(dense("r_w", &u[t * D], D, d) + v["r_b"][d]);
      const double i = sigmoid(dense("i_w", &u[t * D], D, d) + v["i_b"][d]);
      const double a = std::exp(-8 * softplus(v["lambda"][d]) * r);
      h[d] = a * h[d] + std::sqrt(1 - a * a) * i * u[t * D + d];
      const double gated = h[d] * gelu(dense("gelu_w", &v["x"][t * E], E, d));
      for (int e = 0; e < E; ++e) expected[t * E + e] += gated * v["out_w"][e * D + d];
    }
  }
  expect_near(evaluate(graph, bindings, v.all).at("y").data, expected);
}

TEST(Meaning, MinGruGoesOnFromItsLastState) {
  const Graph graph = instantiate_block(load_model("mingru"), "mingru", {{"E", 4}}, {"h0"});
  Values whole(graph, {{"B", 1}, {"L", 6}});
  const Arrays expected = evaluate(graph, {{"B", 1}, {"L", 6}}, whole.all);
  Arrays part = whole.all;
  std::vector<double> joined;
  for (int half = 0; half < 2; ++half) {
    const auto begin = whole["x"].begin() + half * 12;
    part["x"] = {{1, 3, 4}, {begin, begin + 12}};
    const Arrays result = evaluate(graph, {{"B", 1}, {"L", 3}}, part);
    part["h0"] = result.at("last");
    joined.insert(joined.end(), result.at("y").data.begin(), result.at("y").data.end());
  }
  expect_near(joined, expected.at("y").data);
  expect_near(part["h0"].data, expected.at("last").data);
}

TEST(Meaning, S5IsAZeroOrderHold) {
  const Graph graph = instantiate(load_model("s5-diagonal:tiny"));
  const Bindings bindings{{"B", 1}, {"L", 4}};
  const Values v(graph, bindings);
  std::vector<double> expected, h(8, 0.0);
  for (int t = 0; t < 4; ++t) {
    std::vector<double> y(16);
    for (int e = 0; e < 16; ++e) y[e] = v["skip"][e] * v["x"][t * 16 + e];
    for (int n = 0; n < 8; ++n) {
      const double rate = -std::exp(v["rate_log"][n]), step = std::exp(v["step_log"][n]);
      double in = 0;
      for (int e = 0; e < 16; ++e) in += v["input"][n * 16 + e] * v["x"][t * 16 + e];
      h[n] = std::exp(step * rate) * h[n] + (std::exp(step * rate) - 1) / rate * in;
      for (int e = 0; e < 16; ++e) y[e] += v["output"][e * 8 + n] * h[n];
    }
    for (int e = 0; e < 16; ++e) {
      const double gelu = 0.5 * y[e] * (1 + std::tanh(std::sqrt(2 / M_PI) * (y[e] + 0.044715 * std::pow(y[e], 3))));
      expected.push_back(gelu * sigmoid(v["gate"][e] * y[e]));
    }
  }
  expect_near(evaluate(graph, bindings, v.all).at("y").data, expected);
}

}  // namespace
}  // namespace mambac
