// The gradient rules of the op table: one function gradient_X per name X in its `gradient` column.
#include "ir/gradient.h"

#include <fmt/format.h>

#include "ir/dims.h"

namespace mambac {

namespace {

/// The rules' view of one node: x, y, z are its operands, `result` is the node itself, `g` what flows into it.
struct Flow {
  Builder& b;
  const Node node;  // a copy: the rules append to the graph that holds it
  NodeId result;
  NodeId g;
  std::vector<NodeId> to;  // per operand

  NodeId x() const { return node.operands[0]; }
  NodeId y() const { return node.operands[1]; }
  NodeId z() const { return node.operands[2]; }
  DimId dim(size_t i) const { return node.attrs.dims[i]; }
  Type type(NodeId id) const { return b.graph().node(id).type; }
  bool has(NodeId id, DimId dim) const { return b.graph().node(id).type.has(dim); }
  bool wanted(size_t operand) const {
    NodeId id = node.operands[operand];
    return id.present() && is_float(type(id).dtype);
  }
  NodeId named(std::string_view name) const { return operand(node, name); }

  /// A gradient of the result's dimensions becomes that of an operand.
  void flows_to(size_t operand, NodeId value) {
    if (wanted(operand)) to[operand] = sum_to(b, value, node.type, type(node.operands[operand]));
  }
  /// A gradient flows to a named operand as it is.
  void flows_to(std::string_view name, NodeId value) { to[operand_index(node.op, name)] = value; }
  /// `value` at an index of a dimension; the value itself when it is the same along it.
  NodeId at(NodeId value, DimId dim, int64_t index) { return has(value, dim) ? b.at(value, dim, index) : value; }
  NodeId with_dim(NodeId value, DimId dim) { return has(value, dim) ? value : b.broadcast(value, {dim}); }
  NodeId full() { return broadcast_to(b, g, node.type); }
};

void gradient_none(Flow&) {}

void gradient_missing(Flow& f) {
  throw InputError(f.node.location, fmt::format("{} '{}' is not differentiable", name_of(f.node.op), f.node.name));
}

void gradient_neg(Flow& f) {
  f.flows_to(0, f.b.Neg(f.g));
}

void gradient_abs(Flow& f) {
  NodeId zero = f.b.constant(0);
  NodeId sign = f.b.Sub(f.b.Lt(zero, f.x()), f.b.Lt(f.x(), zero));
  f.flows_to(0, f.b.Mul(f.g, sign));
}

void gradient_exp(Flow& f) {
  f.flows_to(0, f.b.Mul(f.g, f.result));
}

void gradient_log(Flow& f) {
  f.flows_to(0, f.b.Div(f.g, f.x()));
}

void gradient_sqrt(Flow& f) {
  f.flows_to(0, f.b.Div(f.b.Mul(f.b.constant(0.5), f.g), f.result));
}

void gradient_rsqrt(Flow& f) {
  NodeId cube = f.b.Mul(f.result, f.b.Mul(f.result, f.result));
  f.flows_to(0, f.b.Mul(f.g, f.b.Mul(f.b.constant(-0.5), cube)));
}

void gradient_sigmoid(Flow& f) {
  NodeId slope = f.b.Mul(f.result, f.b.Sub(f.b.constant(1), f.result));
  f.flows_to(0, f.b.Mul(f.g, slope));
}

void gradient_tanh(Flow& f) {
  NodeId slope = f.b.Sub(f.b.constant(1), f.b.Mul(f.result, f.result));
  f.flows_to(0, f.b.Mul(f.g, slope));
}

void gradient_softplus(Flow& f) {
  f.flows_to(0, f.b.Mul(f.g, f.b.Sigmoid(f.x())));
}

void gradient_sin(Flow& f) {
  f.flows_to(0, f.b.Mul(f.g, f.b.Cos(f.x())));
}

void gradient_cos(Flow& f) {
  f.flows_to(0, f.b.Neg(f.b.Mul(f.g, f.b.Sin(f.x()))));
}

void gradient_cast(Flow& f) {
  if (is_float(f.node.type.dtype)) f.flows_to(0, f.g);
}

void gradient_add(Flow& f) {
  f.flows_to(0, f.g);
  f.flows_to(1, f.g);
}

void gradient_sub(Flow& f) {
  f.flows_to(0, f.g);
  if (f.wanted(1)) f.flows_to(1, f.b.Neg(f.g));
}

void gradient_mul(Flow& f) {
  if (f.wanted(0)) f.flows_to(0, f.b.Mul(f.g, f.y()));
  if (f.wanted(1)) f.flows_to(1, f.b.Mul(f.g, f.x()));
}

void gradient_div(Flow& f) {
  NodeId to_x = f.b.Div(f.g, f.y());
  f.flows_to(0, to_x);
  if (f.wanted(1)) f.flows_to(1, f.b.Neg(f.b.Mul(to_x, f.result)));
}

void gradient_max(Flow& f) {
  if (f.wanted(0)) f.flows_to(0, f.b.Mul(f.g, f.b.Le(f.y(), f.x())));
  if (f.wanted(1)) f.flows_to(1, f.b.Mul(f.g, f.b.Lt(f.x(), f.y())));
}

void gradient_min(Flow& f) {
  if (f.wanted(0)) f.flows_to(0, f.b.Mul(f.g, f.b.Le(f.x(), f.y())));
  if (f.wanted(1)) f.flows_to(1, f.b.Mul(f.g, f.b.Lt(f.y(), f.x())));
}

void gradient_select(Flow& f) {
  NodeId zero = f.b.constant(0);
  if (f.wanted(1)) f.flows_to(1, f.b.Select(f.x(), f.g, zero));
  if (f.wanted(2)) f.flows_to(2, f.b.Select(f.x(), zero, f.g));
}

void gradient_sum(Flow& f) {
  f.flows_to(0, f.g);
}

void gradient_amax(Flow& f) {
  NodeId largest = f.b.Eq(f.x(), f.result);
  NodeId ties = f.b.sum(largest, f.node.attrs.dims);
  f.flows_to(0, f.b.Mul(f.b.Div(f.g, ties), largest));
}

/// d/dx sum x*y = g*y summed over what x lacks: a contraction again, over the dimensions that g and y share.
NodeId dot_gradient(Flow& f, NodeId self, NodeId other) {
  const Type target = f.type(self);
  Dims lacking = without(f.type(other).dims, joined(target.dims, f.type(f.g).dims));
  NodeId rest = f.b.sum(other, lacking);
  Dims contracted = without(common(f.type(f.g).dims, f.type(rest).dims), target.dims);
  return contracted.empty() ? f.b.Mul(f.g, rest) : f.b.dot(f.g, rest, contracted);
}

void gradient_dot(Flow& f) {
  if (f.wanted(0)) f.to[0] = dot_gradient(f, f.x(), f.y());
  if (f.wanted(1)) f.to[1] = dot_gradient(f, f.y(), f.x());
}

void gradient_at(Flow& f) {
  f.to[0] = f.b.put(f.g, f.dim(0), f.node.attrs.integer);
}

void gradient_put(Flow& f) {
  f.to[0] = f.at(f.g, f.dim(0), f.node.attrs.integer);
}

void gradient_slice(Flow& f) {
  f.to[0] = f.b.unslice(f.with_dim(f.g, f.dim(1)), f.dim(1), f.dim(0), f.node.attrs.integer);
}

void gradient_unslice(Flow& f) {
  f.to[0] = f.has(f.g, f.dim(1)) ? f.b.slice(f.g, f.dim(1), f.dim(0), f.node.attrs.integer) : f.g;
}

void gradient_concat(Flow& f) {
  int64_t offset = 0;
  for (size_t i = 0; i < f.node.operands.size(); ++i) {
    DimId part = f.dim(i + 1);
    f.to[i] = f.has(f.g, f.dim(0)) ? f.b.slice(f.g, f.dim(0), part, offset) : f.g;
    offset += f.b.graph().dim(part).size;
  }
}

void gradient_stack(Flow& f) {
  for (size_t i = 0; i < f.node.operands.size(); ++i) f.to[i] = f.at(f.g, f.dim(0), static_cast<int64_t>(i));
}

void gradient_shift(Flow& f) {
  f.to[0] = f.b.shift(f.with_dim(f.g, f.dim(0)), f.dim(0), -f.node.attrs.integer);
}

void gradient_rename(Flow& f) {
  if (!f.has(f.g, f.dim(1))) {
    f.to[0] = f.g;
    return;
  }
  f.to[0] = f.b.op(Op::Rename, {f.g}, {.dims = {f.dim(1), f.dim(0)}});
}

void gradient_broadcast(Flow& f) {
  f.flows_to(0, f.g);
}

/// Rows that are the same for all positions of the index: a scatter. A table with dimensions of the index has one row
/// per position to choose from, so that nothing is added up: a mask.
void gradient_gather(Flow& f) {
  if (!f.wanted(0)) return;
  const Type table = f.type(f.x());
  if (common(table.dims, f.type(f.y()).dims).empty()) {
    f.to[0] = f.b.op(Op::Scatter, {f.y(), f.g}, {.dims = {f.dim(0)}});
    return;
  }
  NodeId rows = f.b.op(Op::Iota, {}, {.dims = {f.dim(0)}});
  f.flows_to(0, f.b.Mul(f.g, f.b.Eq(f.y(), rows)));
}

/// Nothing flows to a start that the first step does not see. Reverse walks always see theirs.
NodeId unless_cut(Flow& f, NodeId value) {
  NodeId starts = f.named("starts");
  if (!starts.present() || f.node.attrs.reverse) return value;
  return f.b.Select(f.b.at(starts, f.dim(0), 0), f.b.constant(0), value);
}

void flow_to_start(Flow& f, NodeId value) {
  NodeId start = f.named("start");
  if (!start.present()) return;
  const Type first{DType::f32, without(f.node.type.dims, {f.dim(0)})};
  f.flows_to("start", sum_to(f.b, unless_cut(f, value), first, f.type(start)));
}

/// Adjoint state lam[t] = g[t] + decay[t+1] lam[t+1], cut where starts[t+1] is not 0: a scan the other way.
void gradient_scan(Flow& f) {
  DimId walk = f.dim(0);
  bool reverse = f.node.attrs.reverse;
  int64_t first = reverse ? -1 : 0;
  NodeId decay = f.x();
  NodeId next_decay = f.has(decay, walk) ? f.b.delay(decay, walk, !reverse) : decay;
  NodeId lam = f.b.scan(next_decay, f.full(), walk, !reverse, {}, f.named("starts"));
  f.flows_to(1, lam);
  if (f.wanted(0)) {
    NodeId before = f.b.delay(f.result, walk, reverse, f.named("start"), f.named("starts"));
    f.flows_to(0, f.b.Mul(lam, before));
  }
  if (f.named("start").present()) flow_to_start(f, f.b.Mul(f.at(decay, walk, first), f.b.at(lam, walk, first)));
}

void gradient_delay(Flow& f) {
  DimId walk = f.dim(0);
  bool reverse = f.node.attrs.reverse;
  NodeId g = f.full();
  f.to[0] = f.b.delay(g, walk, !reverse, {}, f.named("starts"));
  if (f.named("start").present()) flow_to_start(f, f.b.at(g, walk, reverse ? -1 : 0));
}

void gradient_window(Flow& f) {
  DimId walk = f.dim(0), taps = f.dim(1);
  NodeId c = f.b.op(Op::Overlap, {f.full(), f.named("starts"), {}}, {.dims = {walk, taps}});
  f.to[0] = f.b.at(c, taps, -1);
  if (f.named("start").present()) flow_to_start(f, f.b.shift(f.b.at(c, walk, 0), taps, 1));
}

void dispatch(Flow& f) {
  switch (f.node.op) {
#define OP(e, name, operands, attributes, cls, infer, eval, gradient, step, flops, exponentials, meaning) \
  case Op::e:                                                                                             \
    return gradient_##gradient(f);
#include "ir/ops.def"
#undef OP
  }
}

}  // namespace

GradientHook& gradient_hook() {
  static GradientHook hook;
  return hook;
}

std::vector<NodeId> gradient(Builder& b, NodeId node, NodeId out_grad) {
  const Node& n = b.graph().node(node);
  Flow flow{b, n, node, out_grad, std::vector<NodeId>(n.operands.size())};
  check(!operand(n, "resume").present(), "gradients are taken before recomputation is planned");
  dispatch(flow);
  for (size_t i = 0; i < flow.to.size(); ++i) {
    if (!flow.wanted(i)) flow.to[i] = {};
  }
  if (gradient_hook()) gradient_hook()(b, flow.node, flow.to);
  return flow.to;
}

NodeId sum_to(Builder& b, NodeId g, const Type& from, const Type& target) {
  const Dims dims = b.graph().node(g).type.dims;
  Dims repeated = without(from.dims, joined(target.dims, dims));
  NodeId summed = b.sum(g, without(dims, target.dims));
  if (repeated.empty()) return summed;
  return b.Mul(summed, b.op(Op::Extent, {}, {.dims = repeated}));
}

NodeId broadcast_to(Builder& b, NodeId g, const Type& target) {
  Dims lacking = without(target.dims, b.graph().node(g).type.dims);
  return b.broadcast(g, lacking);
}

}  // namespace mambac
