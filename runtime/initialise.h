// Filling parameters before training.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "ir/graph.h"

namespace mambac {

/// Fills a parameter of this shape (row-major) as its initialiser says. The random numbers depend on the seed and on
/// the parameter's checkpoint name only, not on how many parameters there are or on their order.
/// InputError naming the parameter when it has no initialiser or the initialiser's arguments make no finite values.
void initialise(const Initialiser& initialiser, std::string_view checkpoint_name, std::span<const int64_t> shape,
                uint64_t seed, std::span<float> values);

}  // namespace mambac
