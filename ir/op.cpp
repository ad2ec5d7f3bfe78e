#include "ir/op.h"

namespace mambac {

namespace {

std::vector<std::string_view> split_list(std::string_view text) {
  std::vector<std::string_view> items;
  while (!text.empty()) {
    size_t comma = text.find(", ");
    items.push_back(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 2);
  }
  return items;
}

OperandSpec operand_spec(std::string_view item) {
  if (item.ends_with("...")) return {item.substr(0, item.size() - 3), false, true};
  if (item.ends_with("?")) return {item.substr(0, item.size() - 1), true, false};
  return {item, false, false};
}

OpInfo row(Op op, std::string_view name, std::string_view operands, std::string_view attributes, OpClass op_class,
           std::string_view gradient, int flops, int exponentials, std::string_view meaning) {
  OpInfo info{op, name, operands, attributes, op_class, flops, exponentials, meaning, {}, split_list(attributes)};
  for (std::string_view item : split_list(operands)) info.operands.push_back(operand_spec(item));
  info.gradient_missing = gradient == "missing";
  info.gradient_none = gradient == "none";
  return info;
}

const std::vector<OpInfo>& rows() {
  static const std::vector<OpInfo> table = {
#define OP(e, name, operands, attributes, cls, infer, eval, gradient, step, flops, exponentials, meaning) \
  row(Op::e, name, operands, attributes, OpClass::cls, #gradient, flops, exponentials, meaning),
#include "ir/ops.def"
#undef OP
  };
  return table;
}

}  // namespace

std::span<const OpInfo> op_table() {
  return rows();
}

const OpInfo& info(Op op) {
  return rows()[static_cast<size_t>(op)];
}

std::optional<Op> op_from(std::string_view name) {
  for (const OpInfo& candidate : rows()) {
    if (candidate.name == name) return candidate.op;
  }
  return std::nullopt;
}

bool is_simple(Op op) {
  switch (op) {
    case Op::Neg: case Op::Abs: case Op::Stop: case Op::Cast: case Op::Add: case Op::Sub: case Op::Mul: case Op::Max:
    case Op::Min: case Op::Lt: case Op::Le: case Op::Eq: case Op::Select:
      return true;
    default:
      return false;
  }
}

int operand_index(Op op, std::string_view name) {
  const std::vector<OperandSpec>& operands = info(op).operands;
  for (size_t i = 0; i < operands.size(); ++i) {
    if (operands[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace mambac
