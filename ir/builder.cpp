#include "ir/builder.h"

namespace mambac {

NodeId Builder::op(Op op, std::vector<NodeId> operands, Attrs attrs) {
  Node node;
  node.op = op;
  node.operands = std::move(operands);
  node.attrs = std::move(attrs);
  node.name = hint;
  node.location = location;
  return graph_.append(std::move(node));
}

NodeId Builder::input(const std::string& name, Type type) {
  Node node;
  node.op = Op::Input;
  node.type = std::move(type);
  node.name = name;
  node.location = location;
  return graph_.append(std::move(node));
}

NodeId Builder::param(const std::string& name, Type type, ParamInfo info) {
  Node node;
  node.op = Op::Param;
  node.type = std::move(type);
  node.name = name;
  node.location = location;
  node.param = std::move(info);
  return graph_.append(std::move(node));
}

NodeId Builder::constant(double value) {
  return op(Op::Const, {}, {.dims = {}, .number = value});
}

NodeId Builder::cast(NodeId x, DType dtype) {
  return op(Op::Cast, {x}, {.dims = {}, .dtype = dtype});
}

NodeId Builder::sum(NodeId x, std::vector<DimId> dims) {
  if (dims.empty()) return x;
  return op(Op::Sum, {x}, {.dims = std::move(dims)});
}

NodeId Builder::dot(NodeId x, NodeId y, std::vector<DimId> dims) {
  return op(Op::Dot, {x, y}, {.dims = std::move(dims)});
}

NodeId Builder::at(NodeId x, DimId dim, int64_t index) {
  return op(Op::At, {x}, {.dims = {dim}, .integer = index});
}

NodeId Builder::put(NodeId x, DimId dim, int64_t index) {
  return op(Op::Put, {x}, {.dims = {dim}, .integer = index});
}

NodeId Builder::slice(NodeId x, DimId from, DimId to, int64_t offset) {
  return op(Op::Slice, {x}, {.dims = {from, to}, .integer = offset});
}

NodeId Builder::unslice(NodeId x, DimId from, DimId to, int64_t offset) {
  return op(Op::Unslice, {x}, {.dims = {from, to}, .integer = offset});
}

NodeId Builder::shift(NodeId x, DimId dim, int64_t by) {
  return op(Op::Shift, {x}, {.dims = {dim}, .integer = by});
}

NodeId Builder::broadcast(NodeId x, std::vector<DimId> dims) {
  if (dims.empty()) return x;
  return op(Op::Broadcast, {x}, {.dims = std::move(dims)});
}

NodeId Builder::scan(NodeId decay, NodeId input, DimId dim, bool reverse, NodeId start, NodeId starts) {
  return op(Op::Scan, {decay, input, start, starts, {}}, {.dims = {dim}, .reverse = reverse});
}

NodeId Builder::delay(NodeId x, DimId dim, bool reverse, NodeId start, NodeId starts) {
  return op(Op::Delay, {x, start, starts, {}}, {.dims = {dim}, .reverse = reverse});
}

}  // namespace mambac
