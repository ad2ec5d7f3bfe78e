// Declarations of parameters.
#include <fmt/format.h>

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "frontend/instantiator.h"
#include "frontend/suggest.h"
#include "ir/print.h"

namespace mambac {
namespace {

const InitialiserKind& initialiser_kind(const Statement& statement) {
  const auto& kinds = initialiser_kinds();
  const auto kind = std::ranges::find(kinds, statement.initialiser, &InitialiserKind::name);
  if (kind == kinds.end()) {
    std::vector<std::string> names;
    for (const InitialiserKind& known : kinds) names.emplace_back(known.name);
    throw InputError(statement.initialiser_location,
                     fmt::format("unknown initialiser '{}', expected one of {}{}", statement.initialiser,
                                 fmt::join(names, ", "), did_you_mean(statement.initialiser, names)));
  }
  if (static_cast<size_t>(kind->arguments) != statement.values.size()) {
    throw InputError(statement.initialiser_location, fmt::format("initialiser '{}' takes {} arguments, found {}",
                                                                 kind->name, kind->arguments, statement.values.size()));
  }
  return *kind;
}

/// What the arguments should have been; "": they are good.
std::string expected_arguments(const Initialiser& init) {
  const double a = init.a, b = init.b;
  switch (init.kind) {
    case Initialiser::normal:
      if (!(b >= 0)) return "a deviation of 0 or more";
      return std::abs(a) + 10 * b <= double{FLT_MAX} ? "" : "values that f32 holds";  // none is drawn farther away
    case Initialiser::uniform:
      return a <= b ? "" : "the smaller bound first";
    case Initialiser::dt_bias:
      return 0 < a && a <= b ? "" : "bounds above 0, the smaller one first";
    case Initialiser::log_uniform_ring:
      return 0 <= a && a <= b && b <= 1 && a < 1 && 0 < b ? "" : "bounds from 0 to 1, the smaller one first";
    default:
      return "";
  }
}

/// In a turn of a repeat, of this block or of one that calls it.
bool is_repeated(const Frame& frame) {
  return frame.values.size() > 1 || (frame.caller && is_repeated(*frame.caller));
}

}  // namespace

Initialiser Instantiator::initialiser(Frame& frame, const Statement& statement) {
  Initialiser init;
  if (statement.initialiser.empty()) return init;
  init.kind = initialiser_kind(statement).kind;
  for (size_t i = 0; i < statement.values.size(); ++i) {
    const double number = static_number(frame, *statement.values[i]);
    if (!(std::abs(number) <= double{FLT_MAX})) {
      throw InputError(statement.values[i]->location, fmt::format("found {}, expected a finite number of f32",
                                                                  std::isnan(number) ? "NaN" : number_text(number)));
    }
    (i == 0 ? init.a : init.b) = number;
  }
  if (const std::string expected = expected_arguments(init); !expected.empty()) {
    throw InputError(statement.initialiser_location,
                     fmt::format("found {}, expected {}", initialiser_text(init), expected));
  }
  return init;
}

void Instantiator::claim_checkpoint_name(const Frame& frame, const std::string& name, const Location& location) {
  const auto [old, added] = checkpoint_names_.emplace(name, location);
  if (added) return;
  if (old->second.str() != location.str()) {
    throw InputError(location, fmt::format("two parameters have the checkpoint name '{}', the other is at {}; "
                                           "'as \"...\"' on the calls tells them apart",
                                           name, old->second.str()));
  }
  throw InputError(location, fmt::format("two parameters of this declaration have the checkpoint name '{}'; {} tells "
                                         "them apart",
                                         name,
                                         is_repeated(frame) ? "'as \"...{counter}\"' on 'repeat', or 'as \"...\"' on "
                                                              "the calls,"
                                                            : "'as \"...\"' on the calls"));
}

void Instantiator::param(Frame& frame, const Statement& statement) {
  const Target& target = statement.targets[0];
  const auto& inputs = frame.block->inputs;
  if (const auto input = std::ranges::find(inputs, target.name, &BlockInput::name); input != inputs.end()) {
    throw InputError(target.location, fmt::format("'{}' is declared twice, as an input at {} and as a parameter",
                                                  target.name, input->location.str()));
  }
  Node node;
  node.op = Op::Param;
  node.name = target.name;
  node.location = statement.location;
  node.type = type(frame, *target.type);
  node.param.weight_decay = !statement.no_decay;
  const std::string leaf = statement.scope.value_or(target.name);
  node.param.checkpoint_name = kind_ == TextKind::dump ? leaf : join_scope(frame, leaf, statement.location);
  node.param.init = initialiser(frame, statement);
  for (const DimId dim : node.type.dims) {
    if (kind_ == TextKind::dump || !graph_.dim(dim).is_free()) continue;
    throw InputError(statement.location, fmt::format("parameter '{}' has the free dimension '{}', expected fixed sizes",
                                                     target.name, graph_.dim(dim).name));
  }
  claim_checkpoint_name(frame, node.param.checkpoint_name, statement.location);
  const NodeId id = append(std::move(node));
  define(frame, Target{target.name, std::nullopt, target.location}, id);
  place(id, statement.place);
}

}  // namespace mambac
