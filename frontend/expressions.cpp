// Values: names, numbers, operators, and calls of ops and blocks.
#include <fmt/format.h>

#include <algorithm>

#include "frontend/instantiator.h"
#include "frontend/suggest.h"

namespace mambac {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 48;
constexpr size_t kMaxNodes = 1000000;
constexpr int kMaxDepth = 1000;  // of nested expressions and calls together

struct DepthGuard {
  DepthGuard(int& depth, const Location& where) : depth_(depth) {
    if (++depth_ > kMaxDepth) {
      --depth_;
      throw InputError(where, fmt::format("calls and expressions are nested more than {} levels deep", kMaxDepth));
    }
  }
  ~DepthGuard() { --depth_; }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;

 private:
  int& depth_;
};

Op op_of(char symbol) {
  return symbol == '+' ? Op::Add : symbol == '-' ? Op::Sub : symbol == '*' ? Op::Mul : Op::Div;
}

}  // namespace

NodeId Instantiator::append(Node node) {
  if (graph_.size() >= kMaxNodes) throw InputError(node.location, fmt::format("more than {} nodes", kMaxNodes));
  const NodeId id = graph_.append(std::move(node));
  int64_t elements = 1;
  const Node& added = graph_.node(id);
  for (const DimId dim : added.type.dims) {
    const int64_t size = std::max<int64_t>(1, graph_.dim(dim).size);
    if (size > kMaxElements / elements) {
      throw InputError(added.location, fmt::format("'{}' has type {}, which is more than 2^48 elements", added.name,
                                                   type_text(graph_, added.type)));
    }
    elements *= size;
  }
  return id;
}

std::string Instantiator::unnamed(std::string_view op) const {
  return about_.empty() ? std::string(op) : fmt::format("{}.{}", about_, op);
}

NodeId Instantiator::node(Op op, std::vector<NodeId> operands, const Location& location, const std::string& name) {
  Node node;
  node.op = op;
  node.operands = std::move(operands);
  node.location = location;
  node.name = name.empty() ? unnamed(name_of(op)) : name;
  return append(std::move(node));
}

NodeId Instantiator::constant(double number, const Location& location, const std::string& name) {
  Node node;
  node.op = Op::Const;
  node.attrs.number = number;
  node.location = location;
  node.name = name.empty() ? unnamed("const") : name;
  return append(std::move(node));
}

const NodeId* Instantiator::find_value(const Frame& frame, std::string_view name) const {
  for (auto scope = frame.values.rbegin(); scope != frame.values.rend(); ++scope) {
    if (const auto found = scope->find(name); found != scope->end()) return &found->second;
  }
  return nullptr;
}

/// A name in a value: a value, else the size of a free dimension (other static names are folded before).
NodeId Instantiator::named_value(Frame& frame, const Expr& expr, bool absent_allowed) {
  if (const NodeId* found = find_value(frame, expr.text)) {
    if (!found->present() && !absent_allowed) {
      throw InputError(expr.location, fmt::format("input '{}' is optional and not given here", expr.text));
    }
    return *found;
  }
  const StaticPtr size = find_static(frame, expr.text);
  if (!size) unknown_value(frame, expr);
  Node node;
  node.op = Op::Extent;
  node.attrs.dims = {*size->dim};
  node.location = expr.location;
  node.name = unnamed("extent");
  return append(std::move(node));
}

NodeId Instantiator::value(Frame& frame, const Expr& expr, const std::string& name, bool absent_allowed) {
  const DepthGuard guard(depth_, expr.location);
  count_step(expr.location);
  if (is_static(frame, expr)) return constant(static_number(frame, expr), expr.location, name);
  switch (expr.kind) {
    case Expr::name:
      return named_value(frame, expr, absent_allowed);
    case Expr::negate: {
      const NodeId x = value(frame, *expr.left, "");
      return node(Op::Neg, {x}, expr.location, name);
    }
    case Expr::binary: {
      const NodeId x = value(frame, *expr.left, "");
      const NodeId y = value(frame, *expr.right, "");
      return node(op_of(expr.symbol), {x, y}, expr.location, name);
    }
    default:
      return call(frame, expr, {name}).front();
  }
}

/// The values of a call: as many as `names` asks for.
std::vector<NodeId> Instantiator::call(Frame& frame, const Expr& expr, const std::vector<std::string>& names) {
  const DepthGuard guard(depth_, expr.location);
  if (const auto op = op_from(expr.text)) return call_op(frame, expr, *op, names);
  const BlockDef* block = library_.find_block(expr.text, frame.block->from_prelude);
  if (block == nullptr) unknown_call(frame, expr);
  return call_block(frame, expr, *block, names);
}

std::vector<NodeId> Instantiator::call_op(Frame& frame, const Expr& expr, Op op,
                                          const std::vector<std::string>& names) {
  if (op == Op::Input || op == Op::Param) {
    throw InputError(expr.location, op == Op::Input ? "found 'input()' without a type, expected 'NAME: type = input()'"
                                                    : "found 'param()', expected 'param NAME: type = initialiser'");
  }
  if (expr.scope) {
    throw InputError(expr.location, fmt::format("'as' names the parameters of a block, and '{}' is an op", expr.text));
  }
  Node node;
  node.op = op;
  node.attrs = attributes(frame, expr, info(op));
  node.operands = op_operands(frame, expr, info(op));
  node.location = expr.location;
  node.name = names[0].empty() ? unnamed(expr.text) : names[0];
  std::vector<NodeId> results = {append(std::move(node))};
  if (names.size() == 1) return results;
  if (names.size() > 2 || !is_directional(op) || op == Op::ChunkStarts) {
    throw InputError(
        expr.location,
        fmt::format("'{}' gives {}, found {} names for it", expr.text,
                    is_directional(op) && op != Op::ChunkStarts ? "a value and its last state" : "one value",
                    names.size()));
  }
  results.push_back(last_state(results[0], expr.location, names[1]));
  return results;
}

/// What a later piece of the sequence takes as `start`: the state after the last step of the walk.
NodeId Instantiator::last_state(NodeId id, const Location& location, const std::string& name) {
  const Node walk = graph_.node(id);
  const bool from_end = walk.attrs.reverse || walk.op == Op::Overlap;
  Node node;
  node.op = Op::At;
  node.operands = {walk.op == Op::Delay ? walk.operands[0] : id};
  node.attrs.dims = {walk.attrs.dims[0]};
  node.attrs.integer = from_end ? 0 : -1;
  node.location = location;
  node.name = name;
  return append(std::move(node));
}

std::vector<NodeId> Instantiator::block_operands(Frame& frame, const Expr& expr, const BlockDef& block) {
  std::vector<NodeId> operands(block.inputs.size());
  std::vector<bool> given(block.inputs.size(), false);
  size_t position = 0;
  for (const Argument& argument : expr.operands) {
    size_t slot = position;
    if (argument.name.empty()) {
      if (position >= block.inputs.size()) {
        throw InputError(argument.location, fmt::format("found {} operands, '{}' takes {}", expr.operands.size(),
                                                        block.name, block.inputs.size()));
      }
      ++position;
    } else {
      const auto found = std::find_if(block.inputs.begin(), block.inputs.end(),
                                      [&](const BlockInput& input) { return input.name == argument.name; });
      if (found == block.inputs.end()) {
        std::vector<std::string> known;
        for (const BlockInput& input : block.inputs) known.push_back(input.name);
        throw InputError(argument.location, fmt::format("'{}' has no input '{}'{}", block.name, argument.name,
                                                        did_you_mean(argument.name, known)));
      }
      slot = static_cast<size_t>(found - block.inputs.begin());
    }
    const BlockInput& input = block.inputs[slot];
    if (given[slot]) throw InputError(argument.location, fmt::format("input '{}' is given twice", input.name));
    given[slot] = true;
    operands[slot] = value(frame, *argument.value, "", input.optional);
  }
  for (size_t i = 0; i < block.inputs.size(); ++i) {
    if (given[i] || block.inputs[i].optional) continue;
    throw InputError(expr.location, fmt::format("input '{}' of '{}' is missing", block.inputs[i].name, block.name));
  }
  return operands;
}

std::vector<NodeId> Instantiator::call_block(Frame& frame, const Expr& expr, const BlockDef& block,
                                             const std::vector<std::string>& names) {
  StaticMap statics = bind_statics(frame, expr, block);
  add_fallbacks(statics, block, expr.location);
  const std::vector<NodeId> operands = block_operands(frame, expr, block);
  const std::string scope = join_scope(frame, expr.scope.value_or(""), expr.location);
  const auto results = run(block, std::move(statics), operands, &frame, expr.location, scope, names[0]);
  if (results.size() < names.size()) {
    throw InputError(expr.location,
                     fmt::format("'{}' gives {} value{}, found {} names for {}", block.name, results.size(),
                                 results.size() == 1 ? "" : "s", names.size(), results.size() == 1 ? "it" : "them"));
  }
  std::vector<NodeId> values;
  for (const Result& result : results) values.push_back(result.value);
  return values;
}

}  // namespace mambac
