// Questions to integer expressions of the loop IR, and their rewriting.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "codegen/loop_ir.h"

namespace mambac::loop {

/// The factor of each of these variables in an expression that is linear in them; those it does not mention are absent.
/// Nothing when it is not linear.
std::optional<std::map<Var, int64_t>> factors(const Int& a, const std::set<Var>& of);

/// All variables of an expression.
std::set<Var> variables(const Int& a);

/// The same tree of operations.
bool is_same(const Int& a, const Int& b);

/// The largest value that an expression is known to stay below or at; nothing when that depends on the run. Variables
/// in `largest` are not negative; `largest_size`: of sizes, where that is known.
std::optional<int64_t> upper_bound(const Int& a, const std::map<Var, int64_t>& largest,
                                   std::optional<int64_t> largest_size = std::nullopt);

/// The smallest value that an expression is known to have, sizes being 1 at least; nothing when that is not known.
std::optional<int64_t> lower_bound(const Int& a);

/// The expression as it is for the lanes of a channel with this number.
Int with_piece(const Int& a, const Int& number);

/// The expression with other expressions in the place of variables.
Int substitute(const Int& a, const std::map<Var, Int>& by);
void substitute(Block& block, const std::map<Var, Int>& by);

}  // namespace mambac::loop
