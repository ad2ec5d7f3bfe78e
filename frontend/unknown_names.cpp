// Names that mean nothing where they stand: what was probably meant.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "frontend/instantiator.h"
#include "frontend/suggest.h"

namespace mambac {
namespace {

constexpr size_t kMostListed = 20;  // names in a message

struct Assignment {
  const Statement* statement = nullptr;
  const Statement* repeat = nullptr;  // the innermost one around it; null: none
};

/// By name, the first statement that gives it a value.
using Assignments = std::map<std::string_view, Assignment>;

void collect(const std::vector<Statement>& list, const Statement* repeat, Assignments& found) {
  for (const Statement& statement : list) {
    if (statement.kind == Statement::assign || statement.kind == Statement::param) {
      for (const Target& target : statement.targets) found.try_emplace(target.name, Assignment{&statement, repeat});
    }
    collect(statement.body, &statement, found);
  }
}

/// Every expression in the tree.
template <class Visitor>
void visit(const Expr& tree, const Visitor& visitor) {
  visitor(tree);
  if (tree.left) visit(*tree.left, visitor);
  if (tree.right) visit(*tree.right, visitor);
  for (const auto* list : {&tree.statics, &tree.operands}) {
    for (const Argument& argument : *list) visit(*argument.value, visitor);
  }
}

template <class Visitor>
void visit(const Statement& statement, const Visitor& visitor) {
  for (const ExprPtr& value : statement.values) visit(*value, visitor);
  for (const Statement& inner : statement.body) visit(inner, visitor);
}

bool holds(const Statement& statement, const Expr& part) {
  bool found = false;
  visit(statement, [&](const Expr& expr) { found |= &expr == &part; });
  return found;
}

/// Whether the statement's value needs `use`, itself or through other assignments.
bool needs(const Statement& statement, const Assignments& assignments, const Expr& use) {
  std::vector<const Statement*> open{&statement};
  std::set<const Statement*> seen{&statement};
  while (!open.empty()) {
    const Statement& next = *open.back();
    open.pop_back();
    if (holds(next, use)) return true;
    visit(next, [&](const Expr& expr) {
      const auto found = expr.kind == Expr::name ? assignments.find(expr.text) : assignments.end();
      if (found == assignments.end()) return;
      if (seen.insert(found->second.statement).second) open.push_back(found->second.statement);
    });
  }
  return false;
}

/// Why `use` finds no value though there is an assignment of its name.
std::string why_undefined(const Assignments& assignments, const Expr& use) {
  const Assignment& assignment = assignments.at(use.text);
  if (assignment.repeat != nullptr) {
    const int line = assignment.repeat->location.line;
    return holds(*assignment.repeat, use)
               ? fmt::format("'{}' has no value in the first turn of the repeat at line {}; give it a value before",
                             use.text, line)
               : fmt::format("'{}' is local to the repeat at line {}; give it a value before", use.text, line);
  }
  if (needs(*assignment.statement, assignments, use))
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
  Assignments assignments;
  collect(frame.block->body, nullptr, assignments);
  if (assignments.contains(expr.text)) throw InputError(expr.location, why_undefined(assignments, expr));
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
