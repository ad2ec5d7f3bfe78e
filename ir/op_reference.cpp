#include "ir/op_reference.h"

#include <fmt/format.h>

#include "ir/op.h"

namespace mambac {

namespace {

struct Section {
  OpClass op_class;
  const char* title;
  const char* text;
};

constexpr Section kSections[] = {
    {OpClass::Source, "Sources", "Values that come from outside or from nothing."},
    {OpClass::Pointwise, "Pointwise",
     "Operands align by dimension name and are repeated along dimensions they lack. Computed and stored as f32, but "
     "for `cast`. Free dimensions of the result come first, in the order of their declaration, then the fixed ones in "
     "the order in which the operands have them."},
    {OpClass::Reduction, "Reductions", "Accumulated and stored as f32."},
    {OpClass::Contraction, "Contractions", "Accumulated as f32, stored as the given element type, f32 without one."},
    {OpClass::Layout, "Layout", "Values move; none is computed. The element type stays."},
    {OpClass::Index, "Index",
     "Indices are u8 or i32; one outside of the dimension is an error. `mambac run` says so of inputs before a device "
     "runs. Of indices that are computed the interpreter alone says it; on a device what is found there has no "
     "meaning."},
    {OpClass::Directional, "Directional",
     "They walk a dimension step by step. `start` is what comes before the first step, with any of the result's other "
     "dimensions. `starts` is not 0 where a packed sequence begins; it has the walked dimension and otherwise only "
     "free ones. `resume` (made by the compiler) is the result of `chunk_starts`: the walk enters each tile with it."},
};

std::string_view step_rule(Op op) {
  switch (op) {
#define OP(e, name, operands, attributes, cls, infer, eval, gradient, step, flops, exponentials, meaning) \
  case Op::e:                                                                                             \
    return #step;
#include "ir/ops.def"
#undef OP
  }
  return "";
}

std::string signature(const OpInfo& op) {
  std::string text(op.name);
  if (!op.attribute_text.empty()) text += fmt::format("<{}>", op.attribute_text);
  if (!op.operand_text.empty()) text += fmt::format("({})", op.operand_text);
  return text;
}

std::string_view gradient_text(const OpInfo& op) {
  if (op.gradient_missing) return "not differentiable";
  return op.gradient_none ? "none flows" : "yes";
}

std::string_view step_text(Op op) {
  std::string_view rule = step_rule(op);
  if (rule == "missing") return "none along the walked dimension";
  if (rule == "pointwise") return "the op itself";
  if (rule == "reduction" || rule == "extent") return "the op itself, unless along the walked dimension";
  if (rule == "at") return "the op itself; the last index of the walked dimension is this step";
  if (rule == "iota") return "along the walked dimension a state, the number of steps so far";
  if (rule == "broadcast") return "the op itself, without the walked dimension";
  return "one step, with state";
}

std::string cell(std::string_view text) {
  std::string escaped;
  for (char c : text) escaped += c == '|' ? "\\|" : std::string(1, c);
  return escaped;
}

}  // namespace

std::string op_reference_markdown() {
  std::string page =
      "# Op reference\n\n"
      "Generated from the op table, `ir/ops.def`, by `cmake --build build --target op-reference`. In `<>`: `d` a "
      "dimension, `D` one or more, `i` an integer (or `first`, `last`), `f` a number, `t` an element type. `?` marks "
      "what may be left out, `...` one or more; optional operands are given by keyword, as in `start = s`. Work is "
      "counted per element of the result (reductions: per element read; contractions: per multiply-add).\n";
  for (const Section& section : kSections) {
    page += fmt::format("\n## {}\n\n{}\n\n", section.title, section.text);
    page += "| op | meaning | gradient | in one step | flops | exponentials |\n|---|---|---|---|---|---|\n";
    for (const OpInfo& op : op_table()) {
      if (op.op_class != section.op_class) continue;
      page += fmt::format("| `{}` | {} | {} | {} | {} | {} |\n", signature(op), cell(op.meaning), gradient_text(op),
                          step_text(op.op), op.flops, op.exponentials);
    }
  }
  return page;
}

}  // namespace mambac
