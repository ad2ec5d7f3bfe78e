// What stands in <> after an op, read as its row of the op table says.
#include <fmt/format.h>

#include <algorithm>

#include "frontend/instantiator.h"
#include "ir/print.h"

namespace mambac {
namespace {

std::string usage(const OpInfo& op) {
  std::string text(op.name);
  if (!op.attribute_text.empty()) text += fmt::format("<{}>", op.attribute_text);
  return text + fmt::format("({})", op.operand_text);
}

/// A word such as `reverse`, `last` or `bf16`.
std::string word_of(const Argument& argument) {
  return argument.value->kind == Expr::name ? argument.value->text : std::string();
}

[[noreturn]] void fail(const Location& where, const OpInfo& op, const std::string& found) {
  throw InputError(where, fmt::format("found {} in <>, expected {}", found, usage(op)));
}

/// Ops over dimensions that go by the name of an op of two values elsewhere; of the dimensions and the operand.
std::string over_dimensions(Op op, const std::string& dims, const std::string& x) {
  switch (op) {
    case Op::Max:
      return fmt::format("amax<{}>({})", dims, x);
    case Op::Min:
      return fmt::format("-amax<{}>(-{})", dims, x);
    case Op::Add:
      return fmt::format("sum<{}>({})", dims, x);
    default:
      return "";
  }
}

/// As it was written, where it is short.
std::string text_of(const Argument& argument) {
  const Expr& expr = *argument.value;
  return expr.kind == Expr::name ? expr.text : expr.kind == Expr::number ? number_text(expr.value) : "...";
}

/// Of arguments in <> the one at `extra` has no meaning.
[[noreturn]] void fail_extra(const Expr& expr, const OpInfo& op, size_t extra) {
  const Argument& argument = expr.statics[extra];
  const bool flag_left = !op.attributes.empty() && op.attributes.back() == "reverse?" && extra < op.attributes.size();
  if (flag_left && !word_of(argument).empty())
    throw InputError(argument.location,
                     fmt::format("found '{}', expected 'reverse' or nothing: {}", word_of(argument), usage(op)));
  std::string instead;
  if (expr.operands.size() == 1) {
    std::vector<std::string> dims;
    for (const Argument& dim : expr.statics) dims.push_back(text_of(dim));
    instead = over_dimensions(op.op, fmt::format("{}", fmt::join(dims, ", ")), text_of(expr.operands[0]));
  }
  throw InputError(argument.location, fmt::format("found an argument too many in <>, expected {}{}", usage(op),
                                                  instead.empty() ? "" : ", did you mean " + instead + "?"));
}

}  // namespace

Attrs Instantiator::attributes(Frame& frame, const Expr& expr, const OpInfo& op) {
  Attrs attrs;
  size_t next = 0;
  const auto more = [&] { return next < expr.statics.size(); };
  const auto take = [&](std::string_view spec) -> const Argument& {
    if (!more()) fail(expr.location, op, fmt::format("nothing for '{}'", spec));
    const Argument& argument = expr.statics[next++];
    if (!argument.name.empty()) fail(argument.location, op, fmt::format("'{} ='", argument.name));
    return argument;
  };
  for (const std::string_view spec : op.attributes) {
    if (spec == "d") attrs.dims.push_back(dimension(frame, *take(spec).value));
    if (spec == "D") {
      do {
        attrs.dims.push_back(dimension(frame, *take(spec).value));
      } while (more() && !dtype_from(word_of(expr.statics[next])));
    }
    if (spec == "i") {
      const Argument& argument = take(spec);
      const std::string word = word_of(argument);
      attrs.integer = word == "first" ? 0 : word == "last" ? -1 : static_integer(frame, *argument.value);
    }
    if (spec == "f") attrs.number = static_number(frame, *take(spec).value);
    if (spec == "t" || (spec == "t?" && more())) {
      const Argument& argument = take(spec);
      const auto dtype = dtype_from(word_of(argument));
      if (!dtype)
        throw InputError(argument.location, fmt::format("found '{}' in <>, expected an element type (f32, bf16, f16, "
                                                        "i32, u8): {}",
                                                        text_of(argument), usage(op)));
      attrs.dtype = *dtype;
    }
    if (spec == "reverse?" && more() && word_of(expr.statics[next]) == "reverse") {
      ++next;
      attrs.reverse = true;
    }
  }
  if (more()) fail_extra(expr, op, next);
  return attrs;
}

std::vector<NodeId> Instantiator::op_operands(Frame& frame, const Expr& expr, const OpInfo& op) {
  const auto& specs = op.operands;
  const bool variadic = !specs.empty() && specs.back().variadic;
  const auto required = static_cast<size_t>(
      std::count_if(specs.begin(), specs.end(), [](const OperandSpec& spec) { return !spec.optional; }));
  std::vector<NodeId> operands(variadic ? 0 : specs.size());
  size_t position = 0;
  for (const Argument& argument : expr.operands) {
    size_t slot = position;
    if (argument.name.empty()) {
      if (!variadic && position >= required) {
        throw InputError(argument.location,
                         fmt::format("found an operand too many, expected {}{}", usage(op),
                                     required < specs.size() ? ", the optional ones by keyword" : ""));
      }
      ++position;
    } else {
      const int index = operand_index(op.op, argument.name);
      if (index < 0 || variadic) {
        throw InputError(argument.location,
                         fmt::format("'{}' has no operand '{}', expected {}", op.name, argument.name, usage(op)));
      }
      slot = static_cast<size_t>(index);
    }
    if (!variadic && operands[slot].present()) {
      throw InputError(argument.location, fmt::format("operand '{}' is given twice", specs[slot].name));
    }
    const bool optional = !variadic && specs[slot].optional;
    const NodeId id = value(frame, *argument.value, "", optional);
    if (variadic) {
      operands.push_back(id);
    } else {
      operands[slot] = id;
    }
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    const bool missing = variadic ? operands.empty() : !specs[i].optional && !operands[i].present();
    if (missing) {
      throw InputError(expr.location, fmt::format("operand '{}' is missing, expected {}", specs[i].name, usage(op)));
    }
  }
  return operands;
}

}  // namespace mambac
