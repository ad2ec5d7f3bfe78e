#include "frontend/instantiator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "frontend/suggest.h"
#include "ir/print.h"
#include "ir/trace.h"

namespace mambac {
namespace {

/// While it lives, unnamed values lead to the one of this name; "": to the same as before.
class About {
 public:
  About(std::string& about, const std::string& name) : about_(about), before_(about) {
    if (!name.empty()) about_ = name;
  }
  ~About() { about_ = before_; }
  About(const About&) = delete;
  About& operator=(const About&) = delete;

 private:
  std::string& about_;
  const std::string before_;
};

constexpr int64_t kMaxRepeat = 10000;
constexpr int64_t kMaxSteps = 3000000;  // statements and expressions, so that nested repeats end

std::string joined(const std::string& scope, const std::string& name) {
  return scope.empty() || name.empty() ? scope + name : scope + "." + name;
}

bool same_dims(const Type& a, const Type& b) {
  return a.dims.size() == b.dims.size() &&
         std::all_of(a.dims.begin(), a.dims.end(), [&](DimId dim) { return b.has(dim); });
}

}  // namespace

Instantiator::Instantiator(const Library& library, TextKind kind) : library_(library), kind_(kind) {
  declare_dims();
  if (kind_ == TextKind::dump) declare_kernels();
}

void Instantiator::count_step(const Location& where) {
  if (++steps_ > kMaxSteps) throw InputError(where, "the definition unrolls to more than 3,000,000 operations");
}

// ---- whole graphs ----

void Instantiator::main(const BlockDef& block, const std::map<std::string, double>& statics,
                        const std::set<std::string>& optional_inputs) {
  const trace::Span span("frontend", "instantiate " + block.name);
  graph_.name = block.name;
  StaticMap bound;
  for (const auto& [name, number] : statics) bound[name] = std::make_shared<Static>(Static{name, number, false, {}});
  add_fallbacks(bound, block, block.location);
  Frame frame;
  frame.block = &block;
  frame.statics = bound;
  std::vector<NodeId> inputs;
  for (const BlockInput& declared : block.inputs) {
    if (declared.optional && !optional_inputs.contains(declared.name)) {
      inputs.emplace_back();
      continue;
    }
    if (!declared.type) {
      throw InputError(declared.location, fmt::format("input '{}' of '{}' has no type, expected one such as "
                                                      "'{}: f32[B, L, E]' in a block that is run by itself",
                                                      declared.name, block.name, declared.name));
    }
    inputs.push_back(input(frame, declared.name, *declared.type, declared.location, declared.place));
  }
  for (const Result& result : run(block, bound, inputs, nullptr, block.location, "", "")) {
    output(result);
  }
  if (kind_ == TextKind::definition) graph_.remove_dead(true);
}

void Instantiator::output(const Result& result) {
  std::string name = result.name.empty() ? "out" : result.name;
  const auto taken = [&] {
    return std::any_of(graph_.outputs().begin(), graph_.outputs().end(),
                       [&](const Output& output) { return output.name == name; });
  };
  if (!result.name.empty() && taken()) {
    throw InputError(result.location, fmt::format("two results have the name '{}'", name));
  }
  for (int i = 1; taken(); ++i) name = fmt::format("out.{}", i);
  graph_.outputs().push_back({name, result.value});
}

NodeId Instantiator::apply(const std::string& block, const std::vector<DimId>& dims,
                           const std::vector<NodeId>& operands, const std::string& name) {
  const BlockDef* def = library_.find_block(block, true);
  check(def != nullptr && def->statics.size() >= dims.size(), "a block that the prelude must have");
  StaticMap statics;
  for (size_t i = 0; i < dims.size(); ++i) {
    const Dim& dim = graph_.dim(dims[i]);
    statics[def->statics[i].name] =
        std::make_shared<Static>(Static{dim.name, static_cast<double>(dim.size), dim.is_free(), dims[i]});
  }
  add_fallbacks(statics, *def, def->location);
  return run(*def, std::move(statics), operands, nullptr, def->location, "", name).front().value;
}

// ---- blocks ----

std::vector<Result> Instantiator::run(const BlockDef& block, StaticMap statics, const std::vector<NodeId>& operands,
                                      Frame* caller, const Location& called_at, const std::string& scope,
                                      const std::string& name) {
  std::string path = block.name;
  for (const Frame* frame = caller; frame != nullptr; frame = frame->caller) {
    path = frame->block->name + " -> " + path;
    if (frame->block == &block) {
      throw InputError(called_at, fmt::format("block '{}' calls itself: {}", block.name, path));
    }
  }
  Frame frame;
  frame.block = &block;
  frame.caller = caller;
  frame.statics = std::move(statics);
  frame.scope = scope;
  frame.values.emplace_back();
  try {
    for (size_t i = 0; i < block.inputs.size(); ++i) {
      const BlockInput& input = block.inputs[i];
      if (!frame.values[0].emplace(input.name, operands[i]).second) {
        throw InputError(input.location, fmt::format("input '{}' is declared twice", input.name));
      }
      if (input.type && operands[i].present()) {
        check_type(frame, fmt::format("input '{}' of '{}'", input.name, block.name), operands[i], *input.type);
      }
    }
    return body(frame, name);
  } catch (const InputError& error) {
    if (caller == nullptr) throw;
    throw InputError(fmt::format("{}\n  in call of '{}' at {}", error.what(), block.name, called_at.str()));
  }
}

std::vector<Result> Instantiator::body(Frame& frame, const std::string& name) {
  const auto& list = frame.block->body;
  const bool gives = !list.empty() && list.back().kind == Statement::give;
  for (size_t i = 0; i + (gives ? 1 : 0) < list.size(); ++i) statement(frame, list[i]);
  if (!gives && kind_ == TextKind::definition) {
    throw InputError(frame.block->location, fmt::format("block '{}' has no 'return'", frame.block->name));
  }
  std::vector<Result> results;
  if (gives) results = give(frame, list.back(), name);
  check_result_types(frame, results);
  return results;
}

std::vector<Result> Instantiator::give(Frame& frame, const Statement& statement, const std::string& name) {
  std::vector<Result> results;
  for (size_t i = 0; i < statement.values.size(); ++i) {
    const Expr& expr = *statement.values[i];
    const Target& target = statement.targets[i];
    Result result;
    result.name = target.name;
    result.location = target.name.empty() ? expr.location : target.location;
    if (result.name.empty() && expr.kind == Expr::name) result.name = expr.text;
    const std::string& own = i == 0 && !name.empty() ? name : target.name;
    const About about(about_, own);
    result.value = value(frame, expr, own);
    results.push_back(std::move(result));
  }
  return results;
}

void Instantiator::check_result_types(Frame& frame, const std::vector<Result>& results) {
  const BlockDef& block = *frame.block;
  if (block.results.empty()) return;
  if (block.results.size() != results.size()) {
    throw InputError(block.results[0].location, fmt::format("'{}' states {} result types and returns {} values",
                                                            block.name, block.results.size(), results.size()));
  }
  for (size_t i = 0; i < results.size(); ++i) {
    check_type(frame, fmt::format("result {} of '{}'", i + 1, block.name), results[i].value, block.results[i]);
  }
}

/// In a definition values align by name, so the order of dimensions is free; in a dump the type is the type.
void Instantiator::check_type(Frame& frame, const std::string& what, NodeId value, const TypeExpr& expected) {
  const Type wanted = type(frame, expected);
  const Type& found = graph_.node(value).type;
  const bool dims_fit = kind_ == TextKind::dump ? found.dims == wanted.dims : same_dims(found, wanted);
  if (dims_fit && found.dtype == wanted.dtype) return;
  throw InputError(expected.location, fmt::format("{} has type {}, expected {}", what, type_text(graph_, found),
                                                  type_text(graph_, wanted)));
}

// ---- statements ----

void Instantiator::statements(Frame& frame, const std::vector<Statement>& list) {
  for (const Statement& entry : list) statement(frame, entry);
}

void Instantiator::statement(Frame& frame, const Statement& statement) {
  count_step(statement.location);
  switch (statement.kind) {
    case Statement::assign:
      return assign(frame, statement);
    case Statement::param:
      return param(frame, statement);
    case Statement::repeat:
      return repeat(frame, statement);
    case Statement::dim: {
      const std::string& name = statement.targets[0].name;
      auto entry = std::make_shared<Static>(Static{name, static_number(frame, *statement.values[0]), false, {}});
      dimension(*entry, statement.location);
      frame.statics[name] = std::move(entry);
      return;
    }
    case Statement::give:
      throw InputError(statement.location, "found 'return' before the end of the block");
  }
}

void Instantiator::assign(Frame& frame, const Statement& statement) {
  const Expr& expr = *statement.values[0];
  const Target& first = statement.targets[0];
  const size_t nodes_before = graph_.size();
  const About about(about_, first.name);
  std::vector<NodeId> values;
  if (expr.kind == Expr::call && expr.text == name_of(Op::Input) && first.type && expr.operands.empty() &&
      expr.statics.empty() && statement.targets.size() == 1) {
    values = {input(frame, first.name, *first.type, expr.location, statement.place)};
  } else if (expr.kind == Expr::call && !is_static(frame, expr)) {
    std::vector<std::string> names;
    for (const Target& target : statement.targets) names.push_back(target.name);
    values = call(frame, expr, names);
  } else {
    values = {value(frame, expr, first.name)};
  }
  if (values.size() < statement.targets.size()) {
    throw InputError(statement.targets[1].location,
                     fmt::format("found {} names, and the expression gives one value", statement.targets.size()));
  }
  for (size_t i = 0; i < statement.targets.size(); ++i) define(frame, statement.targets[i], values[i]);
  if (graph_.size() > nodes_before) place(values[0], statement.place);
}

/// A value that an enclosing scope has is replaced there: that is how a repeat carries its values.
void Instantiator::define(Frame& frame, const Target& target, NodeId value) {
  if (target.type) check_type(frame, fmt::format("'{}'", target.name), value, *target.type);
  for (auto scope = frame.values.rbegin(); scope != frame.values.rend(); ++scope) {
    const auto found = scope->find(target.name);
    if (found == scope->end()) continue;
    if (kind_ == TextKind::dump) {
      throw InputError(target.location, fmt::format("'{}' is defined twice in a dump", target.name));
    }
    found->second = value;
    return;
  }
  frame.values.back()[target.name] = value;
}

/// A dump says where a node comes from and which kernel computes it.
void Instantiator::place(NodeId id, const Place& place) {
  Node& node = graph_.node(id);
  if (kind_ == TextKind::dump || place.location.known()) node.location = place.location;
  if (kind_ != TextKind::dump) return;
  if (place.kernel >= static_cast<int>(graph_.kernels.size())) {
    throw InputError(place.kernel_location, fmt::format("found kernel k{}, expected one of the {} that are declared",
                                                        place.kernel, graph_.kernels.size()));
  }
  node.kernel = place.kernel;
}

NodeId Instantiator::input(Frame& frame, const std::string& name, const TypeExpr& type_expr, const Location& location,
                           const Place& at) {
  Node node;
  node.op = Op::Input;
  node.type = type(frame, type_expr);
  node.name = name;
  node.location = location;
  const NodeId id = append(std::move(node));
  place(id, at);
  return id;
}

void Instantiator::repeat(Frame& frame, const Statement& statement) {
  const int64_t count = static_integer(frame, *statement.values[0]);
  if (count < 0 || count > kMaxRepeat) {
    throw InputError(statement.values[0]->location,
                     fmt::format("found {} repetitions, expected 0 to {}", count, kMaxRepeat));
  }
  const StaticMap statics_before = frame.statics;
  const std::string scope_before = frame.scope;
  const std::string& counter = statement.targets[0].name;
  for (int64_t i = 0; i < count; ++i) {
    frame.statics[counter] = std::make_shared<Static>(Static{counter, static_cast<double>(i), false, {}});
    frame.scope = scope_before;
    frame.scope = join_scope(frame, statement.scope.value_or(""), statement.location);
    frame.values.emplace_back();
    statements(frame, statement.body);
    frame.values.pop_back();
    frame.statics = statics_before;
  }
  frame.scope = scope_before;
}

/// The frame's scope, a dot, and `scope` with each {name} replaced by the static number of that name.
std::string Instantiator::join_scope(Frame& frame, const std::string& scope, const Location& where) {
  std::string text;
  for (size_t i = 0; i < scope.size(); ++i) {
    const size_t close = scope[i] == '{' ? scope.find('}', i) : std::string::npos;
    if (close == std::string::npos) {
      text += scope[i];
      continue;
    }
    const std::string name = scope.substr(i + 1, close - i - 1);
    const StaticPtr found = find_static(frame, name);
    if (!found || found->free) {
      throw InputError(
          where, fmt::format("unknown name '{{{}}}' in \"{}\", expected a counter or a static argument", name, scope));
    }
    text += number_text(found->value);
    i = close;
  }
  return joined(frame.scope, text);
}

}  // namespace mambac
