// Names that mean nothing where they stand: what was probably meant.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "frontend/instantiator.h"
#include "frontend/suggest.h"

namespace mambac {
namespace {

constexpr size_t kMostListed = 20;  // names in a message

struct Assignment {
  const Statement* statement = nullptr;  // null: there is none
  const Statement* repeat = nullptr;     // the innermost one around it
};

/// The first statement that gives `name` a value.
Assignment find_assignment(const std::vector<Statement>& list, std::string_view name,
                           const Statement* repeat = nullptr) {
  for (const Statement& statement : list) {
    if (statement.kind == Statement::assign || statement.kind == Statement::param) {
      for (const Target& target : statement.targets) {
        if (target.name == name) return {&statement, repeat};
      }
    }
    const Assignment inner = find_assignment(statement.body, name, &statement);
    if (inner.statement != nullptr) return inner;
  }
  return {};
}

bool holds(const Expr& tree, const Expr& part) {
  const auto any_holds = [&](const std::vector<Argument>& list) {
    return std::any_of(list.begin(), list.end(), [&](const Argument& entry) { return holds(*entry.value, part); });
  };
  return &tree == &part || (tree.left && holds(*tree.left, part)) || (tree.right && holds(*tree.right, part)) ||
         any_holds(tree.statics) || any_holds(tree.operands);
}

bool holds(const Statement& statement, const Expr& part) {
  return std::any_of(statement.values.begin(), statement.values.end(),
                     [&](const ExprPtr& value) { return holds(*value, part); }) ||
         std::any_of(statement.body.begin(), statement.body.end(),
                     [&](const Statement& inner) { return holds(inner, part); });
}

/// Why `use` finds no value though there is an assignment.
std::string why_undefined(const Assignment& assignment, const Expr& use) {
  if (assignment.repeat != nullptr) {
    const int line = assignment.repeat->location.line;
    return holds(*assignment.repeat, use)
               ? fmt::format("'{}' has no value in the first turn of the repeat at line {}; give it a value before",
                             use.text, line)
               : fmt::format("'{}' is local to the repeat at line {}; give it a value before", use.text, line);
  }
  if (holds(*assignment.statement, use))
    return fmt::format(
        "'{}' refers to itself, expected values from before; only 'scan' feeds back, and only linearly: "
        "scan<L>(decay, input) is h[t] = decay[t] * h[t-1] + input[t]",
        use.text);
  return fmt::format("'{}' is used before it is defined (line {})", use.text, assignment.statement->location.line);
}

bool can_be_dimension(const Static& entry) {
  return entry.free || (entry.value >= 1 && entry.value == std::floor(entry.value) && std::isfinite(entry.value));
}

}  // namespace

void Instantiator::unknown_value(const Frame& frame, const Expr& expr) const {
  const Assignment assignment = find_assignment(frame.block->body, expr.text);
  if (assignment.statement != nullptr) throw InputError(expr.location, why_undefined(assignment, expr));
  std::vector<std::string> names;
  for (const auto& scope : frame.values) {
    for (const auto& [name, id] : scope) names.push_back(name);
  }
  for (const auto* map : {&frame.statics, &globals_}) {
    for (const auto& [name, entry] : *map) names.push_back(name);
  }
  throw InputError(expr.location, fmt::format("unknown value '{}'{}", expr.text, did_you_mean(expr.text, names)));
}

void Instantiator::unknown_call(const Frame& frame, const Expr& expr) const {
  if (find_value(frame, expr.text) != nullptr) {
    throw InputError(expr.location,
                     fmt::format("'{}' is a value, expected an op or a block before '(' or '<'", expr.text));
  }
  std::vector<std::string> known = library_.block_names();
  for (const OpInfo& op : op_table()) known.emplace_back(op.name);
  throw InputError(expr.location, fmt::format("unknown op or block '{}'{}", expr.text, did_you_mean(expr.text, known)));
}

void Instantiator::unknown_dimension(const Frame& frame, const Expr& expr) const {
  std::set<std::string> dims;
  for (const auto* map : {&frame.statics, &globals_}) {
    for (const auto& [name, entry] : *map) {
      if (can_be_dimension(*entry)) dims.insert(name);
    }
  }
  std::vector<std::string> listed(dims.begin(), dims.end());
  const std::string near = did_you_mean(expr.text, listed);
  if (listed.size() > kMostListed) {
    listed.resize(kMostListed);
    listed.emplace_back("...");
  }
  throw InputError(expr.location, fmt::format("unknown dimension '{}'{}; {}", expr.text, near,
                                              listed.empty() ? "there are none"
                                                             : fmt::format("there are: {}", fmt::join(listed, ", "))));
}

}  // namespace mambac
