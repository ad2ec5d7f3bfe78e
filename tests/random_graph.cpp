#include "tests/random_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ir/builder.h"
#include "ir/dims.h"
#include "passes/rewrite.h"

namespace mambac::test {

namespace {

constexpr double kLargest = 6;  // values beyond are scaled down
constexpr double kGap = 1e-3;   // distance that values keep from where an op jumps or bends

double smallest(const Array& a) {
  return *std::min_element(a.data.begin(), a.data.end());
}
double largest(const Array& a) {
  return *std::max_element(a.data.begin(), a.data.end());
}
double largest_magnitude(const Array& a) {
  return std::max(std::abs(smallest(a)), std::abs(largest(a)));
}
double smallest_magnitude(const Array& a) {
  double least = INFINITY;
  for (double x : a.data) least = std::min(least, std::abs(x));
  return least;
}

class Drawer {
 public:
  Drawer(uint64_t seed, const RandomGraphOptions& options) : random_(seed), options_(options), b_(result_.graph) {
    declare_dims();
    result_.bindings = {{"B", random_.integer(1, 3)}, {"L", random_.pick(std::vector<int64_t>{1, 2, 5, 9, 13, 17})}};
    for (const Dims& dims : {Dims{B, L, D}, Dims{B, L, N}, Dims{D}, Dims{D, N}, Dims{R, D}, Dims{B, L, R}})
      source(dims);
  }

  RandomGraph run() {
    for (int made = 0, tries = 0; made < options_.nodes && tries < 40 * options_.nodes; ++tries)
      made += draw().present();
    collect_outputs();
    return std::move(result_);
  }

 private:
  void declare_dims() {
    Graph& g = result_.graph;
    g.name = "random";
    B = g.add_dim("B", 0);
    L = g.add_dim("L", 0);
    D = g.add_dim("D", random_.pick(std::vector<int64_t>{1, 3, 8, 17, 33}));
    const int64_t states = random_.integer(1, 5), rank = random_.integer(1, 3);
    N = g.add_dim("N", states);
    N2 = g.add_dim("N2", states);
    K = g.add_dim("K", random_.integer(2, 4));
    R = g.add_dim("R", rank);
    RN = g.add_dim("RN", rank + states);
    RR = g.add_dim("RR", 2 * rank);
    V = g.add_dim("V", 5);
    T = g.add_dim("T", 2);
    fixed_ = {D, N, N2, K, R, RN, RR, V, T};
  }

  // ---- values ----

  const Array& array(NodeId id) const { return arrays_[id.index]; }
  const Type& type(NodeId id) const { return result_.graph.node(id).type; }
  int64_t size(DimId d) const { return result_.graph.dim(d).size; }

  NodeId keep(NodeId id, Array value) {
    arrays_.resize(result_.graph.size());
    arrays_[id.index] = std::move(value);
    return id;
  }

  NodeId new_source(const Dims& dims, DType dtype, const Range& range) {
    const bool free = std::any_of(dims.begin(), dims.end(), [&](DimId d) { return result_.graph.dim(d).is_free(); });
    const bool param = !free && range.kind == Range::uniform && random_.chance(0.7);
    const char* kind = range.kind == Range::mask ? "mask" : range.kind == Range::integer ? "index" : param ? "p" : "x";
    const std::string name = fmt::format("{}{}", kind, result_.graph.size());
    NodeId id = param ? b_.param(name, {dtype, dims}, {fmt::format("w.{}", name), {Initialiser::normal, 0, 1}, true})
                      : b_.input(name, {dtype, dims});
    Graph alone = empty_like(result_.graph);
    alone.append(result_.graph.node(id));
    Array value = draw_values(alone, result_.bindings, {{name, range}}, random_.bits()).at(name);
    result_.values[name] = value;
    return keep(id, std::move(value));
  }

  /// An input or parameter of these dims; often one that is there.
  NodeId source(const Dims& dims) {
    if (random_.chance(0.6)) {
      for (uint32_t i = 0; i < result_.graph.size(); ++i) {
        const Node& node = result_.graph.nodes()[i];
        if (class_of(node.op) == OpClass::Source && node.type == Type{DType::f32, dims}) return {i};
      }
    }
    return new_source(dims, DType::f32, {});
  }

  NodeId number(double value) {
    NodeId id = b_.constant(value);
    return keep(id, {{}, {value}});
  }

  /// What the op gives on the values of its operands; empty when the op does not fit them, is too large or not finite.
  Array value_of(const Node& node) const {
    Graph alone = empty_like(result_.graph);
    Arrays values;
    Node copy = node;
    for (NodeId& id : copy.operands) {
      if (!id.present()) continue;
      const std::string name = result_.graph.node(id).name;
      if (!values.contains(name)) {
        Node input;
        input.name = name;
        input.op = Op::Input;
        input.type = type(id);
        alone.append(input);
      }
      values[name] = array(id);
      id = *alone.find(name);
    }
    try {
      if (elements_of(alone, infer_type(alone, copy), result_.bindings) > options_.most_elements) return {};
      alone.outputs() = {{"value", alone.append(copy)}};
    } catch (const InputError&) {
      return {};
    }
    Array value = evaluate(alone, result_.bindings, values).at("value");
    for (double x : value.data) {
      if (!std::isfinite(x)) return {};
    }
    return value;
  }

  NodeId op(Op op, std::vector<NodeId> operands, Attrs attrs = {}) {
    Node node;
    node.op = op;
    node.operands = std::move(operands);
    node.operands.resize(std::max(node.operands.size(), info(op).operands.size()));
    node.attrs = std::move(attrs);
    node.name = fmt::format("{}{}", name_of(op), result_.graph.size());
    Array value = value_of(node);
    if (value.data.empty()) return {};
    const double magnitude = largest_magnitude(value);
    NodeId id = keep(result_.graph.append(std::move(node)), std::move(value));
    if (magnitude <= kLargest || op == Op::Iota) return id;
    return this->op(Op::Mul, {id, number(std::round(1024 * 2 / magnitude) / 1024)});
  }

  /// A value that is there; the last ones more often, so that graphs grow deep.
  NodeId pick() {
    NodeId id;
    do {
      const int64_t last = static_cast<int64_t>(result_.graph.size()) - 1;
      id = {static_cast<uint32_t>(random_.integer(random_.chance(0.5) ? std::max<int64_t>(0, last - 6) : 0, last))};
    } while (!is_float(type(id).dtype));
    return id;
  }
  NodeId pick_with(DimId dim) {
    for (int i = 0; i < 20; ++i) {
      if (NodeId id = pick(); type(id).has(dim)) return id;
    }
    return source(ordered(result_.graph, joined({dim}, {B, D})));
  }
  NodeId positive(NodeId x) {
    if (smallest(array(x)) >= 0.1) return x;
    return op(Op::Add, {op(Op::Softplus, {x}), number(0.25)});
  }
  NodeId away_from_zero(NodeId x) {
    if (smallest_magnitude(array(x)) >= 0.25) return x;
    NodeId square = op(Op::Mul, {x, x});
    return square.present() ? op(Op::Add, {square, number(0.5)}) : NodeId{};
  }
  /// Whether x and y come nowhere nearer to each other than kGap.
  bool apart(NodeId x, NodeId y) const {
    Node sub;
    sub.op = Op::Sub;
    sub.operands = {x, y};
    const Array value = value_of(sub);
    return !value.data.empty() && smallest_magnitude(value) > kGap;
  }

  // ---- ops ----

  NodeId unary() {
    static const std::vector<Op> kOps{Op::Neg,  Op::Abs,      Op::Exp, Op::Log, Op::Sqrt, Op::Rsqrt, Op::Sigmoid,
                                      Op::Tanh, Op::Softplus, Op::Sin, Op::Cos, Op::Stop, Op::Cast};
    const Op chosen = random_.pick(kOps);
    if (chosen == Op::Stop && options_.differentiable) return {};  // its gradient is not that of its value
    NodeId x = pick();
    if (chosen == Op::Exp && largest(array(x)) > 1.5) x = op(Op::Tanh, {x});
    if (chosen == Op::Log || chosen == Op::Sqrt || chosen == Op::Rsqrt) x = positive(x);
    if (chosen == Op::Abs && smallest_magnitude(array(x)) < kGap) return {};
    return op(chosen, {x});
  }

  NodeId binary() {
    static const std::vector<Op> kOps{Op::Add, Op::Add, Op::Sub, Op::Mul, Op::Mul, Op::Mul,
                                      Op::Div, Op::Max, Op::Min, Op::Lt,  Op::Le};
    const Op chosen = random_.pick(kOps);
    NodeId x = pick(), y = pick();
    const bool compares = chosen == Op::Max || chosen == Op::Min || chosen == Op::Lt || chosen == Op::Le;
    if (compares && !apart(x, y)) return {};
    if (chosen == Op::Div) y = away_from_zero(y);
    return y.present() ? op(chosen, {x, y}) : NodeId{};
  }

  NodeId select() {
    NodeId condition;
    if (random_.chance(0.5)) {
      DimId dim = random_.pick(fixed_);
      NodeId index = op(Op::Iota, {}, {.dims = {dim}});
      const int64_t at = random_.integer(0, size(dim));
      condition = random_.chance(0.5) ? op(Op::Eq, {index, number(static_cast<double>(at))})
                                      : op(Op::Lt, {index, number(static_cast<double>(at) - 0.5)});
    } else {
      NodeId x = pick(), y = pick();
      if (!apart(x, y)) return {};
      condition = op(random_.chance(0.5) ? Op::Lt : Op::Le, {x, y});
    }
    return condition.present() ? op(Op::Select, {condition, pick(), pick()}) : NodeId{};
  }

  NodeId position() {
    if (options_.step_form) return op(Op::Iota, {}, {.dims = {random_.chance(0.5) ? L : random_.pick(fixed_)}});
    if (random_.chance(0.5)) return op(Op::Rsqrt, {op(Op::Extent, {}, {.dims = {random_.pick(Dims{B, L, D})}})});
    return op(Op::Sin, {op(Op::Iota, {}, {.dims = {random_.pick(Dims{L, D, N, K})}})});
  }

  bool along_steps(const Dims& dims) const { return options_.step_form && contains(dims, L); }

  NodeId reduction() {
    NodeId x = pick();
    Dims dims = type(x).dims;
    if (dims.empty()) return {};
    random_.shuffle(dims);
    dims.resize(static_cast<size_t>(random_.integer(1, std::min<int64_t>(2, static_cast<int64_t>(dims.size())))));
    if (along_steps(dims)) return {};
    if (random_.chance(0.7)) return op(Op::Sum, {x}, {.dims = dims});
    NodeId most = op(Op::Amax, {x}, {.dims = dims});
    if (!most.present()) return {};
    // Ties share the gradient: nearly equal ones would share it in f32 only.
    Node close;
    close.op = Op::Lt;
    close.operands = {op(Op::Sub, {most, number(kGap)}), x};
    Array count = value_of(close);
    double ties = 0;
    for (double is_close : count.data) ties += is_close;
    return ties == static_cast<double>(array(most).data.size()) ? most : NodeId{};
  }

  NodeId dot() {
    NodeId x = pick(), y = pick();
    Dims shared = common(type(x).dims, type(y).dims);
    if (shared.empty()) return {};
    random_.shuffle(shared);
    shared.resize(random_.chance(0.75) ? 1 : shared.size());
    return along_steps(shared) ? NodeId{} : op(Op::Dot, {x, y}, {.dims = shared});
  }

  NodeId layout() {
    NodeId x = pick();
    if (random_.chance(0.1)) return op(Op::After, {x, pick()});
    const Dims dims = type(x).dims;
    const DimId other = random_.pick(fixed_);
    if (random_.chance(0.2)) {  // a dimension of its own, or one along all steps
      const DimId dim = random_.pick(Dims{B, L, D, N, K, T});
      if (random_.chance(0.5)) return op(Op::Broadcast, {x}, {.dims = {dim}});
      if (along_steps({dim}) || (options_.step_form && dim == B)) return {};
      return op(
          Op::Put, {x},
          {.dims = {dim},
           .integer = result_.graph.dim(dim).is_free() ? -random_.integer(0, 1) : random_.integer(0, size(dim) - 1)});
    }
    if (dims.empty()) return {};
    const DimId dim = random_.pick(dims);
    if (along_steps({dim})) return {};
    const int64_t extent = size(dim);
    if (extent == 0 || random_.chance(0.25)) {
      return op(
          Op::At, {x},
          {.dims = {dim}, .integer = extent == 0 ? -random_.integer(0, 1) : random_.integer(-extent, extent - 1)});
    }
    if (random_.chance(0.25)) return op(Op::Shift, {x}, {.dims = {dim}, .integer = random_.integer(-2, 2)});
    if (size(other) == extent) return op(Op::Rename, {x}, {.dims = {dim, other}});
    const bool cut = size(other) < extent;
    const int64_t offset = random_.integer(0, std::abs(extent - size(other)));
    return op(cut ? Op::Slice : Op::Unslice, {x}, {.dims = {dim, other}, .integer = offset});
  }

  /// Two values side by side.
  NodeId joined_values() {
    if (random_.chance(0.4)) {
      NodeId x = pick();
      return op(Op::Stack, {x, op(random_.chance(0.5) ? Op::Tanh : Op::Neg, {x})}, {.dims = {T}});
    }
    NodeId x = pick_with(R);
    const bool twice = type(x).has(N) || random_.chance(0.4);
    NodeId y = twice ? op(Op::Cos, {x}) : source(replaced(type(x).dims, R, N));
    if (!y.present()) return {};
    return twice ? op(Op::Concat, {x, y}, {.dims = {RR, R, R}}) : op(Op::Concat, {x, y}, {.dims = {RN, R, N}});
  }

  NodeId index() {
    NodeId ids = new_source(random_.chance(0.8) ? Dims{B, L} : Dims{B}, random_.chance(0.5) ? DType::u8 : DType::i32,
                            {Range::integer, 0, static_cast<double>(size(V) - 1)});
    if (options_.differentiable || options_.step_form || random_.chance(0.6)) {
      NodeId table = source(random_.chance(0.5) ? Dims{V, D} : Dims{N, V});
      return op(Op::Gather, {table, ids}, {.dims = {V}});
    }
    return op(Op::Scatter, {ids, pick_with(B)}, {.dims = {V}});
  }

  NodeId decay() {
    NodeId x = pick();
    switch (random_.integer(0, 3)) {
      case 0:
        return op(Op::Sigmoid, {x});
      case 1:
        return op(Op::Exp, {op(Op::Neg, {op(Op::Softplus, {x})})});
      case 2:
        return op(Op::Mul, {op(Op::Tanh, {x}), number(0.875)});
      default:
        return number(0.75);
    }
  }

  /// A value before the first step, given or computed, or none.
  NodeId start(Dims within) {
    if (random_.chance(0.5)) return {};
    random_.shuffle(within);
    within.resize(static_cast<size_t>(random_.integer(0, static_cast<int64_t>(within.size()))));
    const NodeId given = source(ordered(result_.graph, within));
    return given.present() && random_.chance(0.3) ? op(Op::Cos, {given}) : given;
  }
  NodeId starts(const Dims& result, DimId walk) {
    if (random_.chance(0.6)) return {};
    const NodeId given = new_source(contains(result, B) && random_.chance(0.8) ? Dims{B, walk} : Dims{walk}, DType::f32,
                                    {Range::mask, 0, 0.2});
    return given.present() && random_.chance(0.4) ? op(Op::Lt, {number(0), given}) : given;
  }

  /// Along the steps, or a dimension of fixed size.
  NodeId recurrence() {
    const DimId walk = random_.chance(0.75) ? L : random_.pick(Dims{D, N});
    const bool reverse = !(options_.step_form && walk == L) && random_.chance(0.4);
    NodeId x = pick_with(walk);
    const Dims dims = type(x).dims;
    switch (random_.integer(0, 4)) {
      case 0: {
        NodeId first = start(without(dims, {walk})), cut = starts(dims, walk);
        return op(Op::Delay, {x, first, cut}, {.dims = {walk}, .reverse = reverse});
      }
      case 1: {
        NodeId first = start(joined(without(dims, {walk}), {K})), cut = starts(dims, walk);
        return op(Op::Window, {x, first, cut}, {.dims = {walk, K}});
      }
      case 2:
        if (!options_.differentiable && !options_.step_form && type(x).has(K)) {
          NodeId cut = starts(dims, walk);
          return op(Op::Overlap, {x, cut}, {.dims = {walk, K}});
        }
        [[fallthrough]];
      default:
        return scan(x, walk, reverse);
    }
  }
  NodeId scan(NodeId x, DimId walk, bool reverse) {
    NodeId a = decay();
    if (!a.present()) return {};
    if (random_.chance(0.5)) {
      NodeId wide = op(Op::Mul, {x, pick()});
      if (wide.present()) x = wide;
    }
    const Dims both = joined(type(a).dims, type(x).dims);
    NodeId first = start(without(both, {walk})), cut = starts(both, walk);
    return op(Op::Scan, {a, x, first, cut}, {.dims = {walk}, .reverse = reverse});
  }

  NodeId draw() {
    const int64_t kind = random_.integer(0, 99);
    if (kind < 20) return unary();
    if (kind < 42) return binary();
    if (kind < 47) return select();
    if (kind < 51) return position();
    if (kind < 59) return reduction();
    if (kind < 67) return dot();
    if (kind < 79) return layout();
    if (kind < 84) return joined_values();
    if (kind < 88) return index();
    return recurrence();
  }

  /// Some of the values that nothing reads; recurrences first.
  void collect_outputs() {
    constexpr size_t kMost = 8;
    Graph& graph = result_.graph;
    const auto users = users_of(graph);
    std::vector<NodeId> leaves;
    for (uint32_t i = 0; i < graph.size(); ++i) {
      if (users[i].empty() && class_of(graph.nodes()[i].op) != OpClass::Source) leaves.push_back({i});
    }
    random_.shuffle(leaves);
    std::stable_partition(leaves.begin(), leaves.end(), [&](NodeId id) { return is_directional(graph.node(id).op); });
    leaves.resize(std::min(leaves.size(), kMost));
    std::sort(leaves.begin(), leaves.end());
    for (size_t i = 0; i < leaves.size(); ++i) graph.outputs().push_back({fmt::format("out{}", i), leaves[i]});
    graph.remove_dead(false);
    std::erase_if(result_.values, [&](const auto& value) { return !graph.find(value.first); });
  }

  Random random_;
  RandomGraphOptions options_;
  RandomGraph result_;
  Builder b_;
  std::vector<Array> arrays_;  // by node
  DimId B, L, D, N, N2, K, R, RN, RR, V, T;
  Dims fixed_;
};

}  // namespace

RandomGraph random_graph(uint64_t seed, const RandomGraphOptions& options) {
  return Drawer(seed, options).run();
}

}  // namespace mambac::test
