#include "codegen/loop_rewrite.h"

#include <algorithm>

#include "ir/error.h"

namespace mambac::loop {

namespace {

bool is_leaf(const Int& a) {
  return a->op == IntOp::Const || a->op == IntOp::Var || a->op == IntOp::Size ||
         a->op == IntOp::Piece;
}

void collect(const Int& a, std::set<Var>& found) {
  if (a->op == IntOp::Var) found.insert(static_cast<Var>(a->value));
  if (is_leaf(a)) return;
  collect(a->a, found);
  collect(a->b, found);
}

bool is_not_negative(const Int& a, const std::map<Var, int64_t>& variables) {
  switch (a->op) {
    case IntOp::Const: return a->value >= 0;
    case IntOp::Var: return variables.count(static_cast<Var>(a->value)) > 0;
    case IntOp::Sub: return false;
    case IntOp::Less:
    case IntOp::Size:
    case IntOp::Piece: return true;
    default: return is_not_negative(a->a, variables) && is_not_negative(a->b, variables);
  }
}

Int rebuilt(IntOp op, const Int& a, const Int& b) {
  switch (op) {
    case IntOp::Add: return a + b;
    case IntOp::Sub: return a - b;
    case IntOp::Mul: return a * b;
    case IntOp::Div: return a / b;
    case IntOp::Mod: return a % b;
    case IntOp::Min: return min(a, b);
    case IntOp::Max: return max(a, b);
    case IntOp::Less: return less(a, b);
    default: throw InternalError("integer expression: a leaf has no operands");
  }
}

}  // namespace

std::optional<std::map<Var, int64_t>> factors(const Int& a, const std::set<Var>& of) {
  using Factors = std::map<Var, int64_t>;
  if (a->op == IntOp::Var && of.count(static_cast<Var>(a->value))) return Factors{{static_cast<Var>(a->value), 1}};
  if (is_leaf(a)) return Factors{};
  std::optional<Factors> x = factors(a->a, of), y = factors(a->b, of);
  if (!x || !y) return std::nullopt;
  if (x->empty() && y->empty()) return Factors{};
  if (a->op == IntOp::Add || a->op == IntOp::Sub) {
    for (const auto& [v, k] : *y) (*x)[v] += a->op == IntOp::Add ? k : -k;
    std::erase_if(*x, [](const auto& entry) { return entry.second == 0; });
    return x;
  }
  int64_t by = 0;
  if (a->op != IntOp::Mul || !is_constant(y->empty() ? a->b : a->a, &by)) return std::nullopt;
  Factors& scaled = y->empty() ? *x : *y;
  for (auto& [v, k] : scaled) k *= by;
  return scaled;
}

std::set<Var> variables(const Int& a) {
  std::set<Var> found;
  collect(a, found);
  return found;
}

bool is_same(const Int& a, const Int& b) {
  if (a == b) return true;
  if (!a || !b || a->op != b->op) return false;
  return is_leaf(a) ? a->value == b->value : is_same(a->a, b->a) && is_same(a->b, b->b);
}

std::optional<int64_t> upper_bound(const Int& a, const std::map<Var, int64_t>& largest,
                                   std::optional<int64_t> largest_size) {
  if (a->op == IntOp::Const) return a->value;
  if (a->op == IntOp::Size) return largest_size;
  if (a->op == IntOp::Piece) return a->value - 1;
  if (a->op == IntOp::Less) return 1;
  if (a->op == IntOp::Var) {
    const auto found = largest.find(static_cast<Var>(a->value));
    return found == largest.end() ? std::nullopt : std::optional(found->second);
  }
  const std::optional<int64_t> x = upper_bound(a->a, largest, largest_size);
  const std::optional<int64_t> y = upper_bound(a->b, largest, largest_size);
  if (a->op == IntOp::Min) return x && y ? std::min(*x, *y) : x ? x : y;
  int64_t k = 0;
  if (a->op == IntOp::Mod) return y ? std::optional(*y - 1) : x;
  if (a->op == IntOp::Div) return x && is_constant(a->b, &k) && k > 0 ? std::optional(*x / k) : x;
  if (!x || !y) return std::nullopt;
  switch (a->op) {
    case IntOp::Add: return *x + *y;
    case IntOp::Sub:
      return is_constant(a->b, &k) ? std::optional(*x - k) : is_not_negative(a->b, largest) ? x : std::nullopt;
    case IntOp::Mul: {
      constexpr int64_t kLargestProduct = INT64_C(1) << 56;  // so that sums of such do not overflow
      const bool known = (is_not_negative(a->a, largest) && is_not_negative(a->b, largest)) ||
                         (*x >= 0 && is_constant(a->b, &k) && k >= 0);
      int64_t product = 0;
      const bool fits = known && !__builtin_mul_overflow(*x, *y, &product) && product <= kLargestProduct;
      return fits ? std::optional(product) : std::nullopt;
    }
    case IntOp::Max: return std::max(*x, *y);
    default: return std::nullopt;
  }
}

std::optional<int64_t> lower_bound(const Int& a) {
  if (a->op == IntOp::Const) return a->value;
  if (a->op == IntOp::Size) return 1;
  if (a->op == IntOp::Piece || a->op == IntOp::Less) return 0;
  if (a->op == IntOp::Var) return std::nullopt;
  const std::optional<int64_t> x = lower_bound(a->a), y = lower_bound(a->b);
  int64_t k = 0;
  if (a->op == IntOp::Max) return x && y ? std::max(*x, *y) : x ? x : y;
  if (!x) return std::nullopt;
  switch (a->op) {
    case IntOp::Sub:
      return is_constant(a->b, &k) ? std::optional(*x - k) : std::nullopt;
    case IntOp::Div:
      return is_constant(a->b, &k) && k > 0 && *x >= 0 ? std::optional(*x / k) : std::nullopt;
    case IntOp::Add:
      return y ? std::optional(*x + *y) : std::nullopt;
    case IntOp::Mul:
      return y && *x >= 0 && *y >= 0 ? std::optional(*x * *y) : std::nullopt;
    case IntOp::Min:
      return y ? std::optional(std::min(*x, *y)) : std::nullopt;
    default:
      return std::nullopt;
  }
}

Int with_piece(const Int& a, const Int& number) {
  if (a->op == IntOp::Piece) return number;
  return differs_between_lanes(a) ? rebuilt(a->op, with_piece(a->a, number), with_piece(a->b, number)) : a;
}

Int substitute(const Int& a, const std::map<Var, Int>& by) {
  if (!a) return a;
  if (a->op == IntOp::Var) {
    const auto found = by.find(static_cast<Var>(a->value));
    return found == by.end() ? a : found->second;
  }
  if (is_leaf(a)) return a;
  const Int x = substitute(a->a, by), y = substitute(a->b, by);
  return x == a->a && y == a->b ? a : rebuilt(a->op, x, y);
}

void substitute(Block& block, const std::map<Var, Int>& by) {
  for (Stmt& s : block) {
    for (Int* e : {&s.offset, &s.lane_stride, &s.valid, &s.begin, &s.end, &s.below, &s.limit, &s.piece, &s.place})
      *e = substitute(*e, by);
    substitute(s.body, by);
    substitute(s.otherwise, by);
  }
}

}  // namespace mambac::loop
