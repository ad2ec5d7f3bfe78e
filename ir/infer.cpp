// The type rules of the op table: one function infer_X per name X in its `infer` column.
#include <fmt/format.h>

#include <algorithm>

#include "ir/dims.h"
#include "ir/graph.h"

namespace mambac {

namespace {

/// A node on its way into the graph, with short access to what the rules look at.
struct TypeRule {
  const Graph& graph;
  const Node& node;
  const OpInfo& op;

  [[noreturn]] void fail(const std::string& message) const {
    std::string subject = node.name.empty() ? "" : fmt::format(" '{}'", node.name);
    throw InputError(node.location, fmt::format("{}{}: {}", op.name, subject, message));
  }
  const Type& type(size_t operand) const { return graph.node(node.operands[operand]).type; }
  const Type* type(std::string_view operand) const {
    NodeId id = mambac::operand(node, operand);
    return id.present() ? &graph.node(id).type : nullptr;
  }
  DimId dim(size_t i) const { return node.attrs.dims[i]; }
  std::string operand_name(size_t i) const {
    const OperandSpec& spec = op.operands[std::min(i, op.operands.size() - 1)];
    return spec.variadic ? fmt::format("operand {}", i + 1) : fmt::format("operand '{}'", spec.name);
  }
  std::string text(const Type& type) const { return type_text(graph, type); }
  std::string text(const Dims& dims) const { return dims_text(graph, dims); }
  std::string text(DimId dim) const { return dim_text(graph, dim); }
  const std::string& dim_name(DimId dim) const { return graph.dim(dim).name; }

  void expect_has(size_t operand, DimId dim, const std::string& hint = "") const {
    if (type(operand).has(dim)) return;
    fail(fmt::format("{} is {}; expected it to have dimension {}{}", operand_name(operand), text(type(operand)),
                     dim_name(dim), hint));
  }
  void expect_lacks(size_t operand, DimId dim) const {
    if (!type(operand).has(dim)) return;
    fail(fmt::format("{} is {}; dimension {} is new and must not be in it", operand_name(operand), text(type(operand)),
                     dim_name(dim)));
  }
  void expect_fixed(DimId dim) const {
    if (graph.dim(dim).is_free()) fail(fmt::format("dimension {} is free; expected one of fixed size", dim_name(dim)));
  }
  /// The operand's dimensions may be any subset of `allowed`: it is repeated along the others.
  void expect_within(std::string_view operand, const Dims& allowed) const {
    const Type* found = type(operand);
    if (!found || without(found->dims, allowed).empty()) return;
    fail(fmt::format("operand '{}' is {}; expected at most the dimensions {}", operand, text(*found), text(allowed)));
  }
};

size_t count_of(const OpInfo& op, std::string_view attribute) {
  return std::count(op.attributes.begin(), op.attributes.end(), attribute);
}

void check_operands(const TypeRule& rule) {
  const std::vector<OperandSpec>& specs = rule.op.operands;
  const std::vector<NodeId>& operands = rule.node.operands;
  bool variadic = !specs.empty() && specs.back().variadic;
  if (variadic ? operands.size() < specs.size() : operands.size() != specs.size()) {
    rule.fail(fmt::format("found {} operands, expected {}{} ({})", operands.size(), variadic ? "at least " : "",
                          specs.size(), rule.op.operand_text));
  }
  for (size_t i = 0; i < operands.size(); ++i) {
    bool optional = i < specs.size() && specs[i].optional;
    if (!operands[i].present() && !optional) rule.fail(fmt::format("{} is missing", rule.operand_name(i)));
  }
}

void check_dims(const TypeRule& rule) {
  const Dims& dims = rule.node.attrs.dims;
  for (DimId dim : dims) check(dim.index < rule.graph.dims().size(), "a dimension of an attribute is in the graph");
  size_t single = count_of(rule.op, "d");
  bool list = count_of(rule.op, "D") > 0;
  if (list ? dims.size() > single : dims.size() == single) return;
  rule.fail(fmt::format("found {} dimensions in <>, expected {} (<{}>)", dims.size(),
                        list ? fmt::format("at least {}", single + 1) : std::to_string(single),
                        rule.op.attribute_text));
}

void expect_distinct(const TypeRule& rule, const Dims& dims) {
  for (size_t i = 0; i < dims.size(); ++i) {
    if (std::find(dims.begin(), dims.begin() + i, dims[i]) != dims.begin() + i) {
      rule.fail(fmt::format("dimension {} is there twice in {}", rule.dim_name(dims[i]), rule.text(dims)));
    }
  }
}

Type infer_declared(const TypeRule& rule) {
  for (DimId dim : rule.node.type.dims)
    check(dim.index < rule.graph.dims().size(), "a dimension of a type is in the graph");
  expect_distinct(rule, rule.node.type.dims);
  return rule.node.type;
}

Type infer_scalar(const TypeRule& rule) {
  expect_distinct(rule, rule.node.attrs.dims);
  return {};
}

Type infer_iota(const TypeRule& rule) {
  return {DType::f32, {rule.dim(0)}};
}

Dims dims_of_all(const TypeRule& rule) {
  Dims dims;
  for (size_t i = 0; i < rule.node.operands.size(); ++i) dims = joined(dims, rule.type(i).dims);
  return dims;
}

Type infer_pointwise(const TypeRule& rule) {
  return {DType::f32, ordered(rule.graph, dims_of_all(rule))};
}

Type infer_cast(const TypeRule& rule) {
  DType to = rule.node.attrs.dtype;
  if (!is_float(to) && to != DType::u8)
    rule.fail(fmt::format("found element type {}, expected f32, bf16, f16 or u8", name_of(to)));
  return {to, ordered(rule.graph, rule.type(0).dims)};
}

Type infer_reduction(const TypeRule& rule) {
  expect_distinct(rule, rule.node.attrs.dims);
  for (DimId dim : rule.node.attrs.dims) rule.expect_has(0, dim);
  return {DType::f32, without(rule.type(0).dims, rule.node.attrs.dims)};
}

Type infer_dot(const TypeRule& rule) {
  const Dims& contracted = rule.node.attrs.dims;
  expect_distinct(rule, contracted);
  for (DimId dim : contracted) {
    rule.expect_has(0, dim);
    rule.expect_has(1, dim);
  }
  DType to = rule.node.attrs.dtype;
  if (!is_float(to)) rule.fail(fmt::format("found element type {}, expected f32, bf16 or f16", name_of(to)));
  return {to, ordered(rule.graph, without(dims_of_all(rule), contracted))};
}

Type infer_part_dot(const TypeRule& rule) {
  const DimId whole = rule.dim(0), parts = rule.dim(1);
  for (size_t operand : {0, 1}) {
    rule.expect_has(operand, whole);
    rule.expect_lacks(operand, parts);
  }
  rule.expect_fixed(whole);
  rule.expect_fixed(parts);
  if (rule.graph.dim(whole).size % rule.graph.dim(parts).size != 0)
    rule.fail(fmt::format("found {} parts of {}; expected equal ones", rule.text(parts), rule.text(whole)));
  const Dims kept = ordered(rule.graph, without(dims_of_all(rule), {whole}));
  return {DType::f32, inserted(rule.graph, kept, parts)};
}

/// An index along a dimension; along a free one only its ends are known.
void expect_index(const TypeRule& rule, DimId dim, int64_t index) {
  int64_t size = rule.graph.dim(dim).size;
  if (size == 0 && index != 0 && index != -1) {
    rule.fail(fmt::format("found index {} along {}, which is free; expected first or last", index, rule.dim_name(dim)));
  }
  if (size > 0 && (index < -size || index >= size)) {
    rule.fail(fmt::format("found index {} along {}; expected {} to {}", index, rule.text(dim), -size, size - 1));
  }
}

Type infer_at(const TypeRule& rule) {
  rule.expect_has(0, rule.dim(0));
  expect_index(rule, rule.dim(0), rule.node.attrs.integer);
  return {rule.type(0).dtype, without(rule.type(0).dims, {rule.dim(0)})};
}

Type infer_put(const TypeRule& rule) {
  rule.expect_lacks(0, rule.dim(0));
  expect_index(rule, rule.dim(0), rule.node.attrs.integer);
  return {rule.type(0).dtype, inserted(rule.graph, rule.type(0).dims, rule.dim(0))};
}

void expect_range(const TypeRule& rule, DimId whole, DimId part) {
  rule.expect_fixed(whole);
  rule.expect_fixed(part);
  int64_t offset = rule.node.attrs.integer;
  int64_t size = rule.graph.dim(part).size;
  if (offset >= 0 && offset + size <= rule.graph.dim(whole).size) return;
  rule.fail(fmt::format("found the range {} to {} (dimension {}); expected a range within {}", offset, offset + size,
                        rule.text(part), rule.text(whole)));
}

Type replace_dim(const TypeRule& rule, DimId from, DimId to) {
  rule.expect_has(0, from);
  if (from != to) rule.expect_lacks(0, to);
  return {rule.type(0).dtype, replaced(rule.type(0).dims, from, to)};
}

Type infer_slice(const TypeRule& rule) {
  expect_range(rule, rule.dim(0), rule.dim(1));
  return replace_dim(rule, rule.dim(0), rule.dim(1));
}

Type infer_unslice(const TypeRule& rule) {
  expect_range(rule, rule.dim(1), rule.dim(0));
  return replace_dim(rule, rule.dim(0), rule.dim(1));
}

Type infer_rename(const TypeRule& rule) {
  const Dim& from = rule.graph.dim(rule.dim(0));
  const Dim& to = rule.graph.dim(rule.dim(1));
  if (from.size != to.size) {
    rule.fail(fmt::format("found {} and {}; expected two dimensions of one size", rule.text(rule.dim(0)),
                          rule.text(rule.dim(1))));
  }
  return replace_dim(rule, rule.dim(0), rule.dim(1));
}

Type infer_after(const TypeRule& rule) { return rule.type(0); }

bool same_dims(const Dims& a, const Dims& b) {
  return a.size() == b.size() && without(a, b).empty();
}

void expect_same(const TypeRule& rule, size_t operand, const Type& found, const Type& expected) {
  if (found.dtype == expected.dtype && same_dims(found.dims, expected.dims)) return;
  rule.fail(fmt::format("{} is {}; expected {}, as operand 1 has it", rule.operand_name(operand),
                        rule.text(rule.type(operand)), rule.text(expected)));
}

Type infer_concat(const TypeRule& rule) {
  const Dims& dims = rule.node.attrs.dims;
  size_t count = rule.node.operands.size();
  if (dims.size() != count + 1) {
    rule.fail(fmt::format("found {} dimensions in <> for {} operands, expected {}: the result's, then one per operand",
                          dims.size(), count, count + 1));
  }
  int64_t total = 0;
  for (DimId dim : dims) rule.expect_fixed(dim);
  Type result;
  for (size_t i = 0; i < count; ++i) {
    DimId part = dims[i + 1];
    rule.expect_has(i, part);
    if (part != dims[0]) rule.expect_lacks(i, dims[0]);
    total += rule.graph.dim(part).size;
    Type here{rule.type(i).dtype, replaced(rule.type(i).dims, part, dims[0])};
    if (i == 0) result = here;
    if (here.dtype != result.dtype || !same_dims(here.dims, result.dims)) {
      expect_same(rule, i, here, {result.dtype, replaced(result.dims, dims[0], part)});
    }
  }
  if (total != rule.graph.dim(dims[0]).size) {
    rule.fail(fmt::format("the operands have {} places together; expected {}", total, rule.text(dims[0])));
  }
  return result;
}

Type infer_stack(const TypeRule& rule) {
  DimId dim = rule.dim(0);
  rule.expect_fixed(dim);
  size_t count = rule.node.operands.size();
  if (static_cast<int64_t>(count) != rule.graph.dim(dim).size) {
    rule.fail(fmt::format("found {} operands, expected {}", count, rule.text(dim)));
  }
  for (size_t i = 0; i < count; ++i) {
    rule.expect_lacks(i, dim);
    expect_same(rule, i, rule.type(i), rule.type(0));
  }
  return {rule.type(0).dtype, inserted(rule.graph, rule.type(0).dims, dim)};
}

Type infer_shift(const TypeRule& rule) {
  rule.expect_has(0, rule.dim(0));
  rule.expect_fixed(rule.dim(0));
  return rule.type(0);
}

Type infer_broadcast(const TypeRule& rule) {
  expect_distinct(rule, rule.node.attrs.dims);
  Dims dims = rule.type(0).dims;
  for (DimId dim : rule.node.attrs.dims) rule.expect_lacks(0, dim);
  for (DimId dim : rule.node.attrs.dims) dims = inserted(rule.graph, dims, dim);
  return {rule.type(0).dtype, dims};
}

void expect_integers(const TypeRule& rule, size_t operand) {
  if (!is_float(rule.type(operand).dtype)) return;
  rule.fail(fmt::format("{} is {}; expected integers (u8 or i32)", rule.operand_name(operand),
                        rule.text(rule.type(operand))));
}

Type infer_gather(const TypeRule& rule) {
  expect_integers(rule, 1);
  rule.expect_has(0, rule.dim(0));
  rule.expect_lacks(1, rule.dim(0));
  Dims dims = joined(rule.type(1).dims, without(rule.type(0).dims, {rule.dim(0)}));
  return {rule.type(0).dtype, ordered(rule.graph, dims)};
}

Type infer_scatter(const TypeRule& rule) {
  expect_integers(rule, 0);
  rule.expect_fixed(rule.dim(0));
  rule.expect_lacks(0, rule.dim(0));
  rule.expect_lacks(1, rule.dim(0));
  Dims dims = joined({rule.dim(0)}, without(rule.type(1).dims, rule.type(0).dims));
  return {DType::f32, ordered(rule.graph, dims)};
}

void expect_starts(const TypeRule& rule, const Dims& result, DimId walk) {
  const Type* starts = rule.type("starts");
  if (!starts) return;
  bool all_free = std::all_of(starts->dims.begin(), starts->dims.end(),
                              [&](DimId d) { return d == walk || rule.graph.dim(d).is_free(); });
  if (starts->has(walk) && all_free && without(starts->dims, result).empty()) return;
  rule.fail(fmt::format("operand 'starts' is {}; expected {} and otherwise only free dimensions of {}",
                        rule.text(*starts), rule.dim_name(walk), rule.text(result)));
}

/// `resume` has the result's dimensions, with the walked one replaced by the number of its tiles.
void expect_resume(const TypeRule& rule, const Dims& result, DimId walk) {
  const Type* resume = rule.type("resume");
  if (!resume) return;
  for (DimId dim : resume->dims) {
    const Dim& tiles = rule.graph.dim(dim);
    if (tiles.is_tiles() && tiles.base == walk && same_dims(resume->dims, replaced(result, walk, dim))) return;
  }
  rule.fail(fmt::format("operand 'resume' is {}; expected the dimensions {} with tiles of {} in place of {}",
                        rule.text(*resume), rule.text(result), rule.dim_name(walk), rule.dim_name(walk)));
}

void expect_directional_operands(const TypeRule& rule, const Dims& result, DimId walk) {
  rule.expect_within("start", without(result, {walk}));
  expect_starts(rule, result, walk);
  expect_resume(rule, result, walk);
}

Type infer_scan(const TypeRule& rule) {
  DimId walk = rule.dim(0);
  Dims both = joined(rule.type(0).dims, rule.type(1).dims);
  if (!contains(both, walk)) {
    rule.fail(fmt::format("operand 'decay' is {} and operand 'input' is {}; expected dimension {} in one of them",
                          rule.text(rule.type(0)), rule.text(rule.type(1)), rule.dim_name(walk)));
  }
  Dims result = ordered(rule.graph, both);
  expect_directional_operands(rule, result, walk);
  return {DType::f32, result};
}

Type infer_delay(const TypeRule& rule) {
  rule.expect_has(0, rule.dim(0));
  expect_directional_operands(rule, rule.type(0).dims, rule.dim(0));
  return rule.type(0);
}

/// What is said of dimensions of a window in the wrong order, where the right one would fit.
std::string swapped_window(const TypeRule& rule) {
  const bool fits = rule.type(0).has(rule.dim(1)) && !rule.graph.dim(rule.dim(0)).is_free();
  if (!fits) return "";
  return fmt::format("; window takes <time, taps>, did you mean window<{}, {}>?", rule.dim_name(rule.dim(1)),
                     rule.dim_name(rule.dim(0)));
}

Type infer_window(const TypeRule& rule) {
  rule.expect_has(0, rule.dim(0), swapped_window(rule));
  rule.expect_lacks(0, rule.dim(1));
  rule.expect_fixed(rule.dim(1));
  Dims result = rule.type(0).dims;
  result.push_back(rule.dim(1));
  expect_directional_operands(rule, result, rule.dim(0));
  return {rule.type(0).dtype, result};
}

Type infer_overlap(const TypeRule& rule) {
  rule.expect_has(0, rule.dim(0));
  rule.expect_has(0, rule.dim(1));
  rule.expect_fixed(rule.dim(1));
  expect_directional_operands(rule, rule.type(0).dims, rule.dim(0));
  return {DType::f32, rule.type(0).dims};
}

Type infer_chunk_starts(const TypeRule& rule) {
  const Node& x = rule.graph.node(rule.node.operands[0]);
  DimId walk = rule.dim(0);
  const Dim& tiles = rule.graph.dim(rule.dim(1));
  if (!is_directional(x.op) || x.op == Op::ChunkStarts || x.attrs.dims[0] != walk) {
    rule.fail(fmt::format("operand 'x' is the {} '{}'; expected a scan, delay, window or overlap along {}",
                          name_of(x.op), x.name, rule.dim_name(walk)));
  }
  if (!tiles.is_tiles() || tiles.base != walk) {
    rule.fail(fmt::format("found dimension {}; expected one that counts tiles of {}, such as {}/32", tiles.name,
                          rule.dim_name(walk), rule.dim_name(walk)));
  }
  bool own_start = (x.op == Op::Scan || x.op == Op::Window) && operand(x, "start").present();
  if (own_start && !operand(rule.node, "start").present()) {
    rule.fail(
        fmt::format("operand 'x' is the {} '{}' with a start; expected the same start here", name_of(x.op), x.name));
  }
  rule.expect_within("start", without(x.type.dims, {walk}));
  return {DType::f32, replaced(x.type.dims, walk, rule.dim(1))};
}

Type dispatch(const TypeRule& rule) {
  switch (rule.node.op) {
#define OP(e, name, operands, attributes, cls, infer, eval, gradient, step, flops, exponentials, meaning) \
  case Op::e:                                                                                             \
    return infer_##infer(rule);
#include "ir/ops.def"
#undef OP
  }
  throw InternalError("an op outside of the op table");
}

}  // namespace

Type infer_type(const Graph& graph, const Node& node) {
  TypeRule rule{graph, node, info(node.op)};
  check_operands(rule);
  check_dims(rule);
  return dispatch(rule);
}

}  // namespace mambac
