// The op table as data. Everything that lists ops (parser, printer, verifier, reference page) reads it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace mambac {

enum class Op : uint8_t {
#define OP(e, ...) e,
#include "ir/ops.def"
#undef OP
};

enum class OpClass : uint8_t { Source, Pointwise, Reduction, Contraction, Layout, Index, Directional };

struct OperandSpec {
  std::string_view name;
  bool optional = false;
  bool variadic = false;
};

/// One row of ir/ops.def.
struct OpInfo {
  Op op;
  std::string_view name;
  std::string_view operand_text;
  std::string_view attribute_text;
  OpClass op_class;
  int flops;
  int exponentials;
  std::string_view meaning;
  std::vector<OperandSpec> operands;          // parsed from operand_text
  std::vector<std::string_view> attributes;   // parsed from attribute_text: "d", "D", "i", "f", "t", "t?", "reverse?"
  bool gradient_missing = false;              // differentiating through it is an error
  bool gradient_none = false;                 // no gradient flows to its operands
};

std::span<const OpInfo> op_table();
const OpInfo& info(Op op);
inline std::string_view name_of(Op op) { return info(op).name; }
std::optional<Op> op_from(std::string_view name);
inline OpClass class_of(Op op) { return info(op).op_class; }
inline bool is_pointwise(Op op) { return class_of(op) == OpClass::Pointwise; }
inline bool is_directional(Op op) { return class_of(op) == OpClass::Directional; }

/// Whether it takes about one instruction: no more than to write its result into an array and to read it from there.
bool is_simple(Op op);

/// Position of an operand by its name in the table ("start"), -1 when the op has none of that name.
int operand_index(Op op, std::string_view name);

}  // namespace mambac
