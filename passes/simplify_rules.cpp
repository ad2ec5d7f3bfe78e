// The rules of the simplify pass, by op. A rule may return a value of another type: Emitter::emit then drops it.
#include <algorithm>
#include <cmath>

#include "ir/dims.h"
#include "ir/eval.h"
#include "passes/simplify_emit.h"

namespace mambac {

namespace {

struct Rules {
  Emitter& emitter;
  const Node& node;

  /// Valid until a node is emitted: rules copy what they need after that.
  const Node& operand(size_t i) const { return emitter.node(node.operands[i]); }
  NodeId x() const { return node.operands[0]; }
  NodeId y() const { return node.operands[1]; }
  std::optional<double> number(size_t i) const { return emitter.number(node.operands[i]); }
  bool is(size_t i, Op op) const { return operand(i).op == op; }
  bool is(size_t i, double value) const { return number(i) == value; }
  NodeId below(size_t i, size_t j = 0) const { return operand(i).operands[j]; }
  DimId dim(size_t i) const { return node.attrs.dims[i]; }
  int64_t size(DimId d) const { return emitter.graph().dim(d).size; }

  NodeId make(Op op, std::vector<NodeId> operands, Attrs attrs = {}) const {
    return emitter.make(node, op, std::move(operands), std::move(attrs));
  }
  NodeId part(Op op, std::vector<NodeId> operands, Attrs attrs = {}) const {
    return emitter.part(node, op, std::move(operands), std::move(attrs));
  }
  NodeId constant(double value) const { return part(Op::Const, {}, {.dims = {}, .number = value}); }
  NodeId broadcast(NodeId value, const Dims& dims) const {
    return dims.empty() ? value : make(Op::Broadcast, {value}, {.dims = dims});
  }
  NodeId scaled(NodeId value, double by) const { return make(Op::Mul, {value, constant(by)}); }

  NodeId folded() const;
  NodeId without_broadcasts() const;
  NodeId pointwise() const;
  NodeId add() const;
  NodeId sub() const;
  NodeId mul() const;
  NodeId neg() const;
  NodeId sum() const;
  NodeId dot() const;
  NodeId at() const;
  NodeId slice() const;
  NodeId rename() const;
  NodeId broadcast() const;
  NodeId concat() const;
  NodeId stack() const;
  NodeId directional() const;
  NodeId extent() const;
};

/// The value of an op on numbers, as the reference evaluator has it.
NodeId Rules::folded() const {
  Graph alone;
  Node copy = node;
  for (NodeId& id : copy.operands) {
    if (emitter.node(id).op != Op::Const) return {};
    id = alone.append(emitter.node(id));
  }
  alone.outputs() = {{"value", alone.append(copy)}};
  const double value = evaluate(alone, {}, {}).at("value").data[0];
  return std::isfinite(value) ? make(Op::Const, {}, {.dims = {}, .number = value}) : NodeId{};
}

/// Alignment by name repeats an operand anyway; a broadcast matters only where nothing else has its dimensions.
NodeId Rules::without_broadcasts() const {
  for (size_t i = 0; i < node.operands.size(); ++i) {
    if (!is(i, Op::Broadcast)) continue;
    Node shorter = node;
    shorter.operands[i] = below(i);
    if (infer_type(emitter.graph(), shorter).dims == infer_type(emitter.graph(), node).dims)
      return emitter.emit(shorter);
  }
  return {};
}

NodeId Rules::add() const {
  if (is(0, 0.0)) return y();
  if (is(1, 0.0)) return x();
  if (is(1, Op::Neg)) return make(Op::Sub, {x(), below(1)});
  if (is(0, Op::Neg)) return make(Op::Sub, {y(), below(0)});
  return {};
}

NodeId Rules::sub() const {
  if (is(1, 0.0)) return x();
  if (is(0, 0.0)) return make(Op::Neg, {y()});
  if (is(1, Op::Neg)) return make(Op::Add, {x(), below(1)});
  return {};
}

NodeId Rules::mul() const {
  if (is(0, 1.0)) return y();
  if (is(1, 1.0)) return x();
  if (is(0, -1.0)) return make(Op::Neg, {y()});
  if (is(1, -1.0)) return make(Op::Neg, {x()});
  if (is(0, Op::Neg) && is(1, Op::Neg)) return make(Op::Mul, {below(0), below(1)});
  for (size_t i = 0; i < 2; ++i) {
    std::optional<double> factor = number(1 - i);
    if (!factor || !is(1 - i, Op::Const)) continue;
    if (is(i, Op::Neg)) return scaled(below(i), -*factor);
    if (!is(i, Op::Mul)) continue;
    for (size_t j = 0; j < 2; ++j) {
      const Node inner = emitter.node(below(i, j));
      if (inner.op == Op::Const) return scaled(below(i, 1 - j), inner.attrs.number * *factor);
    }
  }
  return {};
}

NodeId Rules::neg() const {
  if (is(0, Op::Neg)) return below(0);
  if (is(0, Op::Sub)) return make(Op::Sub, {below(0, 1), below(0, 0)});
  if (!is(0, Op::Mul)) return {};
  for (size_t j = 0; j < 2; ++j) {
    const Node inner = emitter.node(below(0, j));
    if (inner.op == Op::Const) return scaled(below(0, 1 - j), -inner.attrs.number);
  }
  return {};
}

NodeId Rules::pointwise() const {
  if (NodeId value = node.op == Op::Cast ? NodeId{} : folded(); value.present()) return value;
  if (NodeId value = without_broadcasts(); value.present()) return value;
  switch (node.op) {
    case Op::Add:
      return add();
    case Op::Sub:
      return sub();
    case Op::Mul:
      return mul();
    case Op::Neg:
      return neg();
    case Op::Div:
      return is(1, 1.0) ? x() : NodeId{};
    case Op::Stop:
      return emitter.options().drop_stops || is(0, Op::Stop) ? x() : NodeId{};
    case Op::Cast:
      return x();  // to its own type, or else the types differ and the cast stays
    case Op::Max:
    case Op::Min:
      return x() == y() ? x() : NodeId{};
    case Op::Select:
      if (number(0)) return node.operands[*number(0) != 0 ? 1 : 2];
      return y() == node.operands[2] ? y() : NodeId{};
    default:
      return {};
  }
}

NodeId Rules::sum() const {
  const Dims& summed = node.attrs.dims;
  const Node inner = operand(0);
  if (inner.op == Op::Broadcast) {
    const Dims repeated = common(summed, inner.attrs.dims);
    NodeId value = below(0);
    if (Dims left = without(summed, repeated); !left.empty()) value = part(Op::Sum, {value}, {.dims = left});
    if (Dims new_dims = without(inner.attrs.dims, repeated); !new_dims.empty()) {
      value = part(Op::Broadcast, {value}, {.dims = new_dims});
    }
    if (!repeated.empty()) return make(Op::Mul, {value, part(Op::Extent, {}, {.dims = repeated})});
  }
  if (inner.op == Op::Neg) return make(Op::Neg, {part(Op::Sum, {below(0)}, {.dims = summed})});
  if (inner.op == Op::Put && contains(summed, inner.attrs.dims[0])) {
    const Dims left = without(summed, {inner.attrs.dims[0]});
    return left.empty() ? below(0) : make(Op::Sum, {below(0)}, {.dims = left});
  }
  if (inner.op == Op::Unslice && contains(summed, inner.attrs.dims[1])) {
    return make(Op::Sum, {below(0)}, {.dims = replaced(summed, inner.attrs.dims[1], inner.attrs.dims[0])});
  }
  return {};
}

/// A factor that is the same at every place of the sum stands before it: dot<D>(broadcast<D>(x), y) = x * sum<D>(y).
NodeId Rules::dot() const {
  for (size_t i = 0; i < 2; ++i) {
    if (!is(i, Op::Broadcast) || !without(node.attrs.dims, operand(i).attrs.dims).empty()) continue;
    const Dims others = without(operand(i).attrs.dims, node.attrs.dims);
    NodeId factor = others.empty() ? below(i) : part(Op::Broadcast, {below(i)}, {.dims = others});
    NodeId rest = part(Op::Sum, {node.operands[1 - i]}, {.dims = node.attrs.dims});
    NodeId product = i == 0 ? part(Op::Mul, {factor, rest}) : part(Op::Mul, {rest, factor});
    return node.attrs.dtype == DType::f32 ? product
                                          : make(Op::Cast, {product}, {.dims = {}, .dtype = node.attrs.dtype});
  }
  return {};
}

NodeId Rules::at() const {
  const Node inner = operand(0);
  const int64_t extent = size(dim(0));
  const int64_t index = node.attrs.integer < 0 ? node.attrs.integer + extent : node.attrs.integer;
  switch (inner.op) {
    case Op::Broadcast:
      if (contains(inner.attrs.dims, dim(0))) return broadcast(below(0), without(inner.attrs.dims, {dim(0)}));
      return {};
    case Op::Put:
      return inner.attrs.dims[0] == dim(0) && inner.attrs.integer == node.attrs.integer ? below(0) : NodeId{};
    case Op::Stack:
      return inner.attrs.dims[0] == dim(0) ? below(0, static_cast<size_t>(index)) : NodeId{};
    case Op::Rename:
      if (inner.attrs.dims[1] != dim(0)) return {};
      return make(Op::At, {below(0)}, {.dims = {inner.attrs.dims[0]}, .integer = node.attrs.integer});
    case Op::Slice:
      if (inner.attrs.dims[1] != dim(0)) return {};
      return make(Op::At, {below(0)}, {.dims = {inner.attrs.dims[0]}, .integer = inner.attrs.integer + index});
    default:
      break;
  }
  if (inner.op != Op::Concat || inner.attrs.dims[0] != dim(0)) return {};
  int64_t offset = 0;
  for (size_t i = 0; i < inner.operands.size(); ++i) {
    const DimId piece = inner.attrs.dims[i + 1];
    if (index < offset + size(piece)) return make(Op::At, {below(0, i)}, {.dims = {piece}, .integer = index - offset});
    offset += size(piece);
  }
  return {};
}

NodeId Rules::slice() const {
  const Node inner = operand(0);
  const DimId from = dim(0), to = dim(1);
  if (size(from) == size(to)) return make(Op::Rename, {x()}, {.dims = {from, to}});
  if (inner.op == Op::Slice && inner.attrs.dims[1] == from) {
    return make(Op::Slice, {below(0)},
                {.dims = {inner.attrs.dims[0], to}, .integer = inner.attrs.integer + node.attrs.integer});
  }
  if (inner.op == Op::Unslice && inner.attrs.dims[1] == from && inner.attrs.integer == node.attrs.integer &&
      size(inner.attrs.dims[0]) == size(to)) {
    return make(Op::Rename, {below(0)}, {.dims = {inner.attrs.dims[0], to}});
  }
  if (inner.op == Op::Broadcast && contains(inner.attrs.dims, from)) {
    return broadcast(below(0), replaced(inner.attrs.dims, from, to));
  }
  if (inner.op != Op::Concat || inner.attrs.dims[0] != from) return {};
  int64_t offset = node.attrs.integer;
  for (size_t i = 0; i < inner.operands.size() && offset >= 0; ++i) {
    const DimId piece = inner.attrs.dims[i + 1];
    if (offset + size(to) <= size(piece)) {
      return make(Op::Slice, {below(0, i)}, {.dims = {piece, to}, .integer = offset});
    }
    offset -= size(piece);
  }
  return {};
}

NodeId Rules::rename() const {
  const Node inner = operand(0);
  if (dim(0) == dim(1)) return x();
  if (inner.op == Op::Rename && inner.attrs.dims[1] == dim(0)) {
    return make(Op::Rename, {below(0)}, {.dims = {inner.attrs.dims[0], dim(1)}});
  }
  if (inner.op == Op::Broadcast && contains(inner.attrs.dims, dim(0))) {
    return broadcast(below(0), replaced(inner.attrs.dims, dim(0), dim(1)));
  }
  return {};
}

NodeId Rules::broadcast() const {
  if (!is(0, Op::Broadcast)) return {};
  Dims dims = operand(0).attrs.dims;
  dims.insert(dims.end(), node.attrs.dims.begin(), node.attrs.dims.end());
  return broadcast(below(0), dims);
}

/// Neighbouring slices of one value, side by side, are that value.
NodeId Rules::concat() const {
  if (node.operands.size() == 1) return make(Op::Rename, {x()}, {.dims = {dim(1), dim(0)}});
  int64_t offset = 0;
  for (size_t i = 0; i < node.operands.size(); ++i) {
    const Node piece = operand(i);
    if (piece.op != Op::Slice || piece.operands[0] != below(0) ||
        piece.attrs.dims != Dims{operand(0).attrs.dims[0], dim(i + 1)}) {
      return {};
    }
    if (piece.attrs.integer != offset) return {};
    offset += size(dim(i + 1));
  }
  const DimId whole = operand(0).attrs.dims[0];
  return size(whole) == offset ? make(Op::Rename, {below(0)}, {.dims = {whole, dim(0)}}) : NodeId{};
}

NodeId Rules::stack() const {
  if (!is(0, Op::At)) return {};
  const DimId whole = operand(0).attrs.dims[0];
  if (size(whole) != size(dim(0))) return {};
  for (size_t i = 0; i < node.operands.size(); ++i) {
    const Node piece = operand(i);
    if (piece.op != Op::At || piece.operands[0] != below(0) || piece.attrs.dims[0] != whole) return {};
    int64_t index = piece.attrs.integer < 0 ? piece.attrs.integer + size(whole) : piece.attrs.integer;
    if (index != static_cast<int64_t>(i)) return {};
  }
  return make(Op::Rename, {below(0)}, {.dims = {whole, dim(0)}});
}

/// A recurrence that starts from 0 or is never reset needs no operand to say so.
NodeId Rules::directional() const {
  for (std::string_view name : {"start", "starts"}) {
    int index = operand_index(node.op, name);
    if (index < 0 || emitter.number(node.operands[static_cast<size_t>(index)]) != 0.0) continue;
    Node shorter = node;
    shorter.operands[static_cast<size_t>(index)] = NodeId{};
    return emitter.emit(shorter);
  }
  return {};
}

NodeId Rules::extent() const {
  double product = 1;
  for (DimId d : node.attrs.dims) product *= static_cast<double>(size(d));
  return product > 0 ? make(Op::Const, {}, {.dims = {}, .number = product}) : NodeId{};
}

}  // namespace

NodeId simpler(Emitter& emitter, const Node& node) {
  const Rules rules{emitter, node};
  if (is_pointwise(node.op)) return rules.pointwise();
  switch (node.op) {
    case Op::Extent:
      return rules.extent();
    case Op::Sum:
      return rules.sum();
    case Op::Dot:
      return rules.dot();
    case Op::At:
      return rules.at();
    case Op::Slice:
      return rules.slice();
    case Op::Unslice:
      if (emitter.graph().dim(node.attrs.dims[0]).size != emitter.graph().dim(node.attrs.dims[1]).size) return {};
      return rules.make(Op::Rename, {rules.x()}, {.dims = node.attrs.dims});
    case Op::Rename:
      return rules.rename();
    case Op::Broadcast:
      return rules.broadcast();
    case Op::Concat:
      return rules.concat();
    case Op::Stack:
      return rules.stack();
    case Op::Shift:
      return node.attrs.integer == 0 ? rules.x() : NodeId{};
    case Op::Scan:
    case Op::Delay:
    case Op::Window:
      return rules.directional();
    default:
      return {};
  }
}

}  // namespace mambac
