#include "tests/strangers.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/builder.h"
#include "ir/dims.h"

namespace mambac::test {

namespace {

constexpr int kDecayForms = 6, kInputForms = 4, kReadForms = 4;
constexpr int64_t kRatioOfSmallContractions = 8;  // D to R; see passes/contraction.h

const char* name_of(NormKind kind) {
  return kind == NormKind::rms ? "rms" : "layer";
}

const char* name_of(DecayScope scope) {
  constexpr const char* kNames[] = {"scalar", "per-step", "per-channel", "per-state"};
  return kNames[static_cast<int>(scope)];
}

int norms(const StrangerPlan& plan) {
  return (plan.before != NormKind::none) + (plan.between != NormKind::none) + (plan.after != NormKind::none);
}

NormKind draw_norm(Random& random, double probability) {
  if (!random.chance(probability)) return NormKind::none;
  return random.chance(0.5) ? NormKind::rms : NormKind::layer;
}

/// Writes a plan as a graph. Expressions and operand orders come from the plan's seed.
class Writer {
 public:
  explicit Writer(const StrangerPlan& plan) : plan_(plan), random_(plan.seed), b_(result_.graph) {
    Graph& g = result_.graph;
    g.name = "stranger";
    B = g.add_dim("B", 0);
    L = g.add_dim("L", 0);
    D = g.add_dim("D", plan.channels);
    if (plan.states > 0) N = g.add_dim("N", plan.states);
    if (plan.rank > 0) R = g.add_dim("R", plan.rank);
    if (plan.projections) E = g.add_dim("E", 12);
  }

  Stranger run() {
    NodeId x = input("x", {B, L, plan_.projections ? E : D});
    if (plan_.starts) {
      starts_ = input("starts", {B, L});
      result_.ranges["starts"] = {Range::mask, 0, 0.1};
    }
    NodeId y = x;
    if (plan_.before != NormKind::none) y = norm(y, plan_.before, plan_.projections ? E : D);
    if (plan_.projections) y = dot(y, param("w_in", {D, E}), {E});
    u_ = y;
    NodeId z = random_.chance(0.5) ? input("z", {B, L, D}) : u_;
    channel_ = {u_, z, param("p", {D}), u_};
    for (size_t i = 0; i < plan_.scans.size(); ++i) {
      if (i == 1 && plan_.between != NormKind::none) y = norm(y, plan_.between, D);
      y = scanned(y, plan_.scans[i], i);
    }
    if (plan_.skip) y = add(y, mul(param("skip", {D}), u_));
    if (plan_.gate) y = mul(y, gate(z));
    if (plan_.after != NormKind::none) y = norm(y, plan_.after, D);
    if (plan_.projections) y = dot(y, param("w_out", {E, D}), {D});
    if (plan_.residual) y = add(y, x);
    b_.hint = "out";
    if (class_of(result_.graph.node(y).op) == OpClass::Source) y = mul(y, y);
    outputs_.insert(outputs_.begin(), {"out", y});
    result_.graph.outputs() = outputs_;
    result_.graph.remove_dead(false);
    result_.bindings = {{"B", random_.integer(1, 3)}, {"L", random_.pick(std::vector<int64_t>{1, 7, 33, 64, 130})}};
    return std::move(result_);
  }

 private:
  using Pair = std::pair<NodeId, NodeId>;

  // ---- vocabulary, bound in any order ----

  Pair swap(NodeId x, NodeId y) { return random_.chance(0.5) ? Pair{x, y} : Pair{y, x}; }
  NodeId add(NodeId x, NodeId y) {
    auto [first, second] = swap(x, y);
    return b_.Add(first, second);
  }
  NodeId mul(NodeId x, NodeId y) {
    auto [first, second] = swap(x, y);
    return b_.Mul(first, second);
  }
  NodeId dot(NodeId x, NodeId y, const Dims& over) {
    auto [first, second] = swap(x, y);
    return b_.dot(first, second, over);
  }
  NodeId number(double value) { return b_.constant(value); }
  NodeId silu(NodeId x) { return mul(x, b_.Sigmoid(x)); }

  std::string unique(const std::string& name) {
    const int before = taken_[name]++;
    return before == 0 ? name : fmt::format("{}_{}", name, before);
  }
  NodeId input(const std::string& name, const Dims& dims) { return b_.input(unique(name), {DType::f32, dims}); }
  NodeId param(const std::string& wanted, Dims dims) {
    random_.shuffle(dims);
    const std::string name = unique(wanted);
    return b_.param(name, {DType::f32, dims}, {fmt::format("w.{}", name), {Initialiser::normal, 0, 1}, true});
  }

  // ---- pieces ----

  /// A smooth function of the leaves, of moderate size.
  NodeId expression(const std::vector<NodeId>& leaves, int depth) {
    if (depth == 0) return random_.pick(leaves);
    NodeId x = expression(leaves, depth - 1);
    switch (random_.integer(0, 13)) {
      case 0:
        return b_.Tanh(x);
      case 1:
        return b_.Sigmoid(x);
      case 2:
        return b_.Softplus(x);
      case 3:
        return b_.Sin(x);
      case 4:
        return b_.Cos(x);
      case 5:
        return silu(x);
      case 6:
        return b_.Neg(x);
      case 7:
        return b_.Exp(b_.Tanh(x));
      case 8:
        return b_.Sqrt(add(b_.Softplus(x), number(0.5)));
      case 9:
        return b_.Div(x, add(mul(x, x), number(1)));
      case 10:
        return mul(x, number(0.5));
      case 11:
        return add(x, expression(leaves, depth - 1));
      case 12:
        return b_.Sub(x, expression(leaves, depth - 1));
      default:
        return mul(x, b_.Tanh(expression(leaves, depth - 1)));
    }
  }

  NodeId norm(NodeId x, NormKind kind, DimId over) {
    b_.hint = "norm";
    NodeId size = b_.op(Op::Extent, {}, {.dims = {over}});
    if (kind == NormKind::layer) x = b_.Sub(x, b_.Div(b_.sum(x, {over}), size));
    NodeId square = b_.Div(b_.sum(mul(x, x), {over}), size);
    NodeId weight = param("norm_w", {over});
    NodeId result = mul(mul(x, b_.Rsqrt(add(square, number(0.1)))), weight);
    return kind == NormKind::layer ? add(result, param("norm_b", {over})) : result;
  }

  NodeId gate(NodeId z) {
    b_.hint = "gate";
    switch (random_.integer(0, 2)) {
      case 0:
        return silu(z);
      case 1:
        return b_.Sigmoid(z);
      default:
        return b_.Tanh(z);
    }
  }

  bool has_states() const { return plan_.states > 0; }
  NodeId step_states() { return input("s", {B, L, N}); }

  /// What the decay is made of, with the dimensions of its scope.
  NodeId decay_data(const StrangerScan& scan) {
    switch (scan.scope) {
      case DecayScope::scalar:
        return param("a", {});
      case DecayScope::step:
        return expression({input("a", {B, L})}, 1);
      case DecayScope::channel: {
        if (!scan.varying) return expression({param("a", {D})}, 1);
        if (plan_.rank == 0) return expression(channel_, 2);
        NodeId low = input("low", {B, L, R}), weight = param("dt_w", {D, R}), bias = param("dt_b", {D});
        return add(dot(low, weight, {R}), bias);
      }
      case DecayScope::state:
        break;
    }
    if (!scan.varying) return expression({random_.chance(0.7) ? param("a", {D, N}) : param("a", {N})}, 1);
    if (random_.chance(0.3)) return expression({step_states()}, 1);
    NodeId by = random_.chance(0.5) ? param("a", {D, N}) : step_states();
    return mul(expression(channel_, 1), by);
  }

  /// A number below 1 in magnitude.
  NodeId decay(const StrangerScan& scan) {
    NodeId x = decay_data(scan);
    switch (scan.decay_form) {
      case 0:
        return b_.Sigmoid(x);
      case 1:
        return b_.Exp(b_.Neg(b_.Softplus(x)));
      case 2:
        return mul(b_.Tanh(x), number(0.9375));
      case 3:
        return b_.Sub(number(1), b_.Sigmoid(x));
      case 4:
        return b_.Sqrt(b_.Sigmoid(x));
      default:
        return b_.Exp(mul(b_.Softplus(x), b_.Neg(b_.Exp(param("A_log", {D})))));
    }
  }

  NodeId scan_input(NodeId u, NodeId a, const StrangerScan& scan) {
    NodeId x = random_.chance(0.5) ? u : mul(u, b_.Sigmoid(expression(channel_, 1)));
    if (has_states()) {
      switch (random_.integer(0, 2)) {
        case 0:
          x = mul(x, step_states());
          break;
        case 1:
          x = mul(x, param("b", {D, N}));
          break;
        default:
          x = mul(x, param("b", {N}));
          break;
      }
    }
    switch (scan.input_form) {
      case 0:
        return x;
      case 1:
        return mul(x, b_.Sub(number(1), a));
      case 2:
        return mul(x, b_.Sqrt(b_.Sub(number(1.0625), mul(a, a))));
      default:
        return mul(b_.Softplus(param("dt", {D})), x);
    }
  }

  NodeId read(NodeId h, const StrangerScan& scan) {
    if (!has_states()) {
      switch (scan.read_form) {
        case 0:
          return h;
        case 1:
          return mul(h, param("c", {D}));
        case 2:
          return b_.Tanh(h);
        default:
          return mul(h, expression(channel_, 1));
      }
    }
    NodeId c = random_.chance(0.5) ? step_states() : param("c", {D, N});
    switch (scan.read_form) {
      case 0:
        return b_.sum(mul(h, c), {N});
      case 1:
        return dot(h, c, {N});
      case 2:
        return b_.sum(mul(b_.Tanh(h), c), {N});
      default:
        return b_.at(h, N, random_.integer(-plan_.states, plan_.states - 1));
    }
  }

  NodeId scanned(NodeId u, const StrangerScan& scan, size_t number_of_scan) {
    b_.hint = "decay";
    NodeId a = decay(scan);
    b_.hint = "input";
    NodeId x = scan_input(u, a, scan);
    NodeId start;
    if (scan.start) {
      Dims dims = has_states() ? (random_.chance(0.5) ? Dims{B, D, N} : Dims{B, N, D}) : Dims{B, D};
      start = input("h0", dims);
    }
    b_.hint = "h";
    NodeId h = b_.scan(a, x, L, scan.reverse, start, starts_);
    b_.hint = "last";
    if (scan.last) outputs_.push_back({fmt::format("last{}", number_of_scan), b_.at(h, L, scan.reverse ? 0 : -1)});
    b_.hint = "y";
    return read(h, scan);
  }

  const StrangerPlan& plan_;
  Random random_;
  Stranger result_;
  Builder b_;
  DimId B, L, D, N, R, E;
  NodeId u_, starts_;
  std::vector<NodeId> channel_;  // leaves with D
  std::vector<Output> outputs_;
  std::map<std::string, int> taken_;
};

}  // namespace

std::string StrangerPlan::str() const {
  std::string text = fmt::format("seed {}: D {}", seed, channels);
  text += states > 0 ? fmt::format(" N {}", states) : " no N";
  if (rank > 0) text += fmt::format(" R {}", rank);
  if (before != NormKind::none) text += fmt::format(", {} norm before", name_of(before));
  if (projections) text += ", projected in";
  for (const StrangerScan& scan : scans) {
    if (&scan != scans.data() && between != NormKind::none) text += fmt::format(", {} norm", name_of(between));
    text += fmt::format(", {} scan with {} {} decay (form {}), input form {}, read form {}",
                        scan.reverse ? "reverse" : "forward", scan.varying ? "varying" : "fixed", name_of(scan.scope),
                        scan.decay_form, scan.input_form, scan.read_form);
    if (scan.start) text += ", h0";
    if (scan.last) text += ", last state";
  }
  if (starts) text += ", starts";
  if (skip) text += ", skip";
  if (gate) text += ", gate";
  if (after != NormKind::none) text += fmt::format(", {} norm after", name_of(after));
  if (projections) text += ", projected out";
  if (residual) text += ", residual";
  return text;
}

int most_kernels(const StrangerPlan& plan) {
  return static_cast<int>(plan.scans.size()) + norms(plan) + (plan.projections && plan.residual);
}

int fewest_kernels(const StrangerPlan& plan) {
  const bool shared =
      plan.scans.size() == 2 && plan.between == NormKind::none && plan.scans[0].reverse == plan.scans[1].reverse;
  return most_kernels(plan) - shared;
}

StrangerPlan draw_plan(uint64_t seed) {
  Random random(seed);
  StrangerPlan plan;
  plan.seed = seed;
  plan.channels = random.pick(std::vector<int64_t>{1, 3, 8, 17, 24, 32, 40, 64});
  if (random.chance(0.7)) plan.states = random.pick(std::vector<int64_t>{1, 2, 3, 4, 5, 8, 16, 33, 64});
  plan.before = draw_norm(random, 0.3);
  plan.after = draw_norm(random, 0.25);
  plan.projections = random.chance(0.25) && plan.channels > 1;  // 1 to 12 is a small contraction
  plan.starts = random.chance(0.25);
  plan.skip = random.chance(0.5);
  plan.gate = random.chance(0.5);
  plan.residual = random.chance(0.4);
  plan.scans.resize(random.chance(0.3) ? 2 : 1);
  if (plan.scans.size() == 2) plan.between = draw_norm(random, 0.3);
  for (StrangerScan& scan : plan.scans) {
    scan.scope = static_cast<DecayScope>(random.integer(0, plan.states > 0 ? 3 : 2));
    scan.varying = scan.scope == DecayScope::step || (scan.scope != DecayScope::scalar && random.chance(0.7));
    scan.decay_form = static_cast<int>(random.integer(0, kDecayForms - 1));
    scan.input_form = static_cast<int>(random.integer(0, kInputForms - 1));
    scan.read_form = static_cast<int>(random.integer(0, kReadForms - 1));
    scan.reverse = random.chance(0.3);
    scan.start = random.chance(0.3);
    scan.last = random.chance(0.3);
    const bool by_contraction = scan.scope == DecayScope::channel && scan.varying && random.chance(0.5);
    if (by_contraction && plan.channels >= kRatioOfSmallContractions) {
      plan.rank = random.integer(1, plan.channels / kRatioOfSmallContractions);
    }
  }
  return plan;
}

Stranger make_stranger(const StrangerPlan& plan) {
  Stranger result = Writer(plan).run();
  result.name = fmt::format("stranger-{}", plan.seed);
  result.text = plan.str();
  result.most_kernels = most_kernels(plan);
  result.fewest_kernels = fewest_kernels(plan);
  return result;
}

}  // namespace mambac::test
