#include "codegen/loop_writer.h"

#include "ir/error.h"

namespace mambac::loop {

std::string LoopWriter::infix(const Int& a, const char* op, int level, int least) const {
  const std::string before = cast(a);
  int64_t c = 0;
  const bool minus = a->op == IntOp::Add && is_constant(a->b, &c) && c < 0 && c != INT64_MIN;
  const std::string text = fmt::format("{}{} {} {}", before, str(a->a, before.empty() ? level : 3), minus ? "-" : op,
                                       minus ? number(-c) : str(a->b, level + 1));
  return level < least ? "(" + text + ")" : text;
}

std::string LoopWriter::str(const Int& a, int least) const {
  if (const std::string name = known(a); !name.empty()) return name;
  switch (a->op) {
    case IntOp::Const: return number(a->value);
    case IntOp::Var: return fmt::format("i{}", a->value);
    case IntOp::Piece: return "piece";
    case IntOp::Size: return size(static_cast<size_t>(a->value));
    case IntOp::Add: return infix(a, "+", 1, least);
    case IntOp::Sub: return infix(a, "-", 1, least);
    case IntOp::Mul: return infix(a, "*", 2, least);
    case IntOp::Div: return infix(a, "/", 2, least);
    case IntOp::Mod: return infix(a, "%", 2, least);
    case IntOp::Less: return fmt::format("({} < {})", str(a->a), str(a->b));
    case IntOp::Min:
    case IntOp::Max: return fmt::format("{}({}, {})", function(a->op), str(a->a), str(a->b));
  }
  throw InternalError("integer expression of an unknown kind");
}

}  // namespace mambac::loop
