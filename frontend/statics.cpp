// Static arguments: numbers known when a block is instantiated, and the dimensions made of them.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "frontend/instantiator.h"
#include "frontend/suggest.h"
#include "ir/print.h"

namespace mambac {
namespace {

constexpr double kMaxSize = static_cast<double>(int64_t{1} << 48);
constexpr double kMaxInteger = static_cast<double>(int64_t{1} << 53);
constexpr size_t kMaxDims = 10000;

struct StaticFunction {
  std::string_view name;
  size_t arguments;
  double (*apply)(double, double);
};

constexpr StaticFunction kFunctions[] = {
    {"ceil", 1, [](double x, double) { return std::ceil(x); }},
    {"floor", 1, [](double x, double) { return std::floor(x); }},
    {"sqrt", 1, [](double x, double) { return std::sqrt(x); }},
    {"exp", 1, [](double x, double) { return std::exp(x); }},
    {"log", 1, [](double x, double) { return std::log(x); }},
    {"min", 2, [](double x, double y) { return std::fmin(x, y); }},
    {"max", 2, [](double x, double y) { return std::fmax(x, y); }},
};

const StaticFunction* find_function(std::string_view name) {
  for (const StaticFunction& function : kFunctions) {
    if (function.name == name) return &function;
  }
  return nullptr;
}

std::optional<double> named_constant(std::string_view name) {
  if (name == "inf") return std::numeric_limits<double>::infinity();
  if (name == "nan") return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

/// Names that mean something else between < and >.
bool is_attribute_word(std::string_view name) {
  return dtype_from(name) || name == "reverse" || name == "first" || name == "last";
}

std::vector<std::string> static_names(const Frame& frame, const StaticMap& globals) {
  std::vector<std::string> names;
  for (const auto* map : {&frame.statics, &globals}) {
    for (const auto& [name, entry] : *map) names.push_back(name);
  }
  return names;
}

}  // namespace

void Instantiator::declare_dims() {
  const Frame top;
  for (const auto& file : library_.files()) {
    for (const DimDecl& decl : file->dims) {
      const Expr& dim = *decl.dim;
      if (decl.size == nullptr) {
        if (dim.kind == Expr::number) throw InputError(decl.location, "a free dimension has a name, not a number");
        if (dim.kind == Expr::binary) {
          if (dim.symbol == '/')  // in a dump of walks along fixed dimensions, of these as well
            tiles(dimension(top, *dim.left), *dim.right, dim.location);
          else
            dimension(top, dim);
          continue;
        }
      }
      if (dim.kind == Expr::name && is_attribute_word(dim.text)) {
        throw InputError(decl.location, fmt::format("'{}' cannot name a dimension: it has a meaning in <>", dim.text));
      }
      const double size = decl.size ? static_number(top, *decl.size) : 0;
      const std::string name = dim.kind == Expr::number ? number_text(dim.value) : dim.text;
      if (dim.kind == Expr::number && dim.value != size) {
        throw InputError(decl.location, fmt::format("dimension '{}' has its name for size, found {}", name, size));
      }
      if (const auto old = globals_.find(name); old != globals_.end()) {
        if (old->second->value == size) continue;
        throw InputError(decl.location, fmt::format("dimension '{}' is declared twice, with different sizes", name));
      }
      auto entry = std::make_shared<Static>(Static{name, size, decl.size == nullptr, {}});
      if (entry->free) {
        if (graph_.find_dim(name) || graph_.dims().size() >= kMaxDims) {
          throw InputError(decl.location, fmt::format("dimension '{}' is declared as something else, or there are more "
                                                      "than {} dimensions",
                                                      name, kMaxDims));
        }
        entry->dim = graph_.add_dim(name, 0);
      } else {
        dimension(*entry, decl.location);
      }
      if (dim.kind == Expr::name) globals_[name] = entry;
    }
  }
}

/// Kernels are numbered in the order of their declarations.
void Instantiator::declare_kernels() {
  const Frame top;
  std::set<std::string_view> names;
  for (const KernelDecl& decl : library_.main_file().kernels) {
    if (!names.insert(decl.name).second) {
      throw InputError(decl.location, fmt::format("kernel '{}' is declared twice", decl.name));
    }
    KernelGroup kernel;
    kernel.kind = decl.kind;
    kernel.name = decl.name;
    kernel.reverse = decl.reverse;
    if (decl.along) kernel.along = dimension(top, *decl.along);
    if (decl.lane) kernel.lane = dimension(top, *decl.lane);
    for (const ExprPtr& dim : decl.outer) kernel.outer.push_back(dimension(top, *dim));
    for (const ExprPtr& dim : decl.inner) kernel.inner.push_back(dimension(top, *dim));
    graph_.kernels.push_back(std::move(kernel));
  }
}

StaticPtr Instantiator::find_static(const Frame& frame, std::string_view name) const {
  if (const auto found = frame.statics.find(name); found != frame.statics.end()) return found->second;
  if (const auto found = globals_.find(name); found != globals_.end()) return found->second;
  return nullptr;
}

/// A bare name is passed on as it is; everything else is a number under the callee's name.
StaticPtr Instantiator::bind_static(Frame& frame, const Expr& expr, const std::string& name) {
  if (expr.kind == Expr::name) {
    if (StaticPtr found = find_static(frame, expr.text)) return found;
  }
  if (expr.kind == Expr::binary && expr.symbol == '/' && expr.left->kind == Expr::name) {
    const StaticPtr base = find_static(frame, expr.left->text);
    if (base && base->free) return std::make_shared<Static>(Static{name, 0, true, dimension(frame, expr)});
  }
  return std::make_shared<Static>(Static{name, static_number(frame, expr), false, {}});
}

StaticMap Instantiator::bind_statics(Frame& frame, const Expr& call, const BlockDef& block) {
  StaticMap bound;
  size_t position = 0;
  for (const Argument& argument : call.statics) {
    std::string name = argument.name;
    if (name.empty()) {
      if (position >= block.statics.size()) {
        throw InputError(argument.location, fmt::format("found more than {} static arguments, '{}' takes {}", position,
                                                        block.name, block.statics.size()));
      }
      name = block.statics[position++].name;
    }
    std::vector<std::string> known;
    for (const StaticParameter& parameter : block.statics) known.push_back(parameter.name);
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw InputError(argument.location,
                       fmt::format("'{}' has no static argument '{}'{}", block.name, name, did_you_mean(name, known)));
    }
    if (!bound.emplace(name, bind_static(frame, *argument.value, name)).second) {
      throw InputError(argument.location, fmt::format("static argument '{}' is given twice", name));
    }
  }
  return bound;
}

void Instantiator::add_fallbacks(StaticMap& statics, const BlockDef& block, const Location& where) {
  Frame frame;
  frame.block = &block;
  frame.statics = statics;
  std::set<std::string> seen;
  for (const StaticParameter& parameter : block.statics) {
    if (!seen.insert(parameter.name).second) {
      throw InputError(parameter.location, fmt::format("static argument '{}' is declared twice", parameter.name));
    }
    if (is_attribute_word(parameter.name)) {
      throw InputError(parameter.location,
                       fmt::format("'{}' cannot name a static argument: it has a meaning in <>", parameter.name));
    }
    if (frame.statics.contains(parameter.name)) continue;
    if (!parameter.fallback) {
      throw InputError(where,
                       fmt::format("'{}' needs a value for its static argument '{}'", block.name, parameter.name));
    }
    frame.statics[parameter.name] = bind_static(frame, *parameter.fallback, parameter.name);
  }
  statics = std::move(frame.statics);
}

/// Whether the expression is a number known now, with no name that is a value.
bool Instantiator::is_static(const Frame& frame, const Expr& expr) const {
  switch (expr.kind) {
    case Expr::number:
      return true;
    case Expr::name: {
      if (find_value(frame, expr.text) != nullptr) return false;
      const StaticPtr found = find_static(frame, expr.text);
      return found ? !found->free : named_constant(expr.text).has_value();
    }
    case Expr::negate:
      return is_static(frame, *expr.left);
    case Expr::binary:
      return is_static(frame, *expr.left) && is_static(frame, *expr.right);
    case Expr::call:
      break;
  }
  const StaticFunction* function = find_function(expr.text);
  if (function == nullptr || !expr.statics.empty() || expr.operands.size() != function->arguments) return false;
  for (const Argument& argument : expr.operands) {
    if (!argument.name.empty() || !is_static(frame, *argument.value)) return false;
  }
  return true;
}

double Instantiator::static_function(const Frame& frame, const Expr& expr) const {
  const StaticFunction* function = find_function(expr.text);
  if (function == nullptr || !expr.statics.empty()) {
    std::vector<std::string> known;
    for (const StaticFunction& candidate : kFunctions) known.emplace_back(candidate.name);
    throw InputError(expr.location, fmt::format("found a call of '{}', expected one of {} in a static expression{}",
                                                expr.text, fmt::join(known, ", "), did_you_mean(expr.text, known)));
  }
  if (expr.operands.size() != function->arguments) {
    throw InputError(expr.location, fmt::format("'{}' takes {} argument{}, found {}", expr.text, function->arguments,
                                                function->arguments == 1 ? "" : "s", expr.operands.size()));
  }
  const double x = static_number(frame, *expr.operands[0].value);
  const double y = function->arguments == 2 ? static_number(frame, *expr.operands[1].value) : 0;
  return function->apply(x, y);
}

double Instantiator::static_number(const Frame& frame, const Expr& expr) const {
  switch (expr.kind) {
    case Expr::number:
      return expr.value;
    case Expr::name: {
      const StaticPtr found = find_static(frame, expr.text);
      if (found && found->free) {
        throw InputError(expr.location,
                         fmt::format("the size of dimension '{}' is not known before run time, expected a "
                                     "number (in a value, extent<{}> is its size)",
                                     expr.text, expr.text));
      }
      if (found) return found->value;
      if (const auto constant = named_constant(expr.text)) return *constant;
      throw InputError(expr.location, fmt::format("unknown static argument or dimension '{}'{}", expr.text,
                                                  did_you_mean(expr.text, static_names(frame, globals_))));
    }
    case Expr::negate:
      return -static_number(frame, *expr.left);
    case Expr::call:
      return static_function(frame, expr);
    case Expr::binary:
      break;
  }
  const double x = static_number(frame, *expr.left);
  const double y = static_number(frame, *expr.right);
  switch (expr.symbol) {
    case '+':
      return x + y;
    case '-':
      return x - y;
    case '*':
      return x * y;
    default:
      return x / y;
  }
}

int64_t Instantiator::static_integer(const Frame& frame, const Expr& expr) const {
  const double number = static_number(frame, expr);
  if (!(std::abs(number) <= kMaxInteger) || number != std::floor(number)) {
    throw InputError(expr.location, fmt::format("found {}, expected an integer", number_text(number)));
  }
  return static_cast<int64_t>(number);
}

DimId Instantiator::dimension(const Frame& frame, const Expr& expr) {
  if (expr.kind == Expr::number) return fixed_dim(number_text(expr.value), expr.value, expr.location);
  if (expr.kind == Expr::name) {
    const StaticPtr found = find_static(frame, expr.text);
    if (!found) unknown_dimension(frame, expr);
    return dimension(*found, expr.location);
  }
  if (expr.kind == Expr::binary && expr.symbol == '/') {
    const DimId base = dimension(frame, *expr.left);
    const bool declared = expr.right->kind == Expr::number &&
                          graph_.find_dim(fmt::format("{}/{}", graph_.dim(base).name, number_text(expr.right->value)));
    if (declared || kind_ == TextKind::dump || graph_.dim(base).is_free())
      return tiles(base, *expr.right, expr.location);
  }
  throw InputError(expr.location,
                   "found an expression, expected a dimension: its name, an integer, or tiles of a free "
                   "dimension such as L/32 ('dim C = ...' gives an expression a name)");
}

DimId Instantiator::tiles(DimId base, const Expr& divisor, const Location& where) {
  const bool valid = divisor.kind == Expr::number && divisor.integer && divisor.value >= 1 && divisor.value <= 1e9;
  if (!valid) throw InputError(where, "found tiles of another size than an integer, expected for example L/32");
  const auto steps = static_cast<int64_t>(divisor.value);
  const auto old = graph_.find_dim(fmt::format("{}/{}", graph_.dim(base).name, steps));
  if (old && (graph_.dim(*old).base != base || graph_.dim(*old).divisor != steps)) {
    throw InputError(where, fmt::format("dimension '{}' is declared as something else", graph_.dim(*old).name));
  }
  if (graph_.dims().size() >= kMaxDims) throw InputError(where, fmt::format("more than {} dimensions", kMaxDims));
  return graph_.add_tiles(base, steps);
}

DimId Instantiator::dimension(Static& entry, const Location& where) {
  if (!entry.dim) entry.dim = fixed_dim(entry.name, entry.value, where);
  return *entry.dim;
}

/// The dimension of that name and size: one that is there already, or a new one, under a name with a suffix when the
/// name is taken by another size.
DimId Instantiator::fixed_dim(const std::string& name, double size, const Location& where) {
  if (!(size >= 1 && size <= kMaxSize) || size != std::floor(size)) {
    throw InputError(
        where, fmt::format("dimension '{}' has size {}, expected an integer from 1 to 2^48", name, number_text(size)));
  }
  const auto count = static_cast<int64_t>(size);
  const auto key = std::pair(name, count);
  if (const auto found = fixed_dims_.find(key); found != fixed_dims_.end()) return found->second;
  if (graph_.dims().size() >= kMaxDims) throw InputError(where, fmt::format("more than {} dimensions", kMaxDims));
  std::string unique = name;
  while (graph_.find_dim(unique)) unique = fmt::format("{}.{}", name, ++dim_suffixes_[name]);
  return fixed_dims_[key] = graph_.add_dim(unique, count);
}

Type Instantiator::type(const Frame& frame, const TypeExpr& expr) {
  Type type;
  type.dtype = expr.dtype.value_or(DType::f32);
  for (const ExprPtr& dim : expr.dims) {
    const DimId id = dimension(frame, *dim);
    if (type.has(id)) {
      throw InputError(dim->location, fmt::format("dimension '{}' is there twice in a type", graph_.dim(id).name));
    }
    type.dims.push_back(id);
  }
  return type;
}

}  // namespace mambac
