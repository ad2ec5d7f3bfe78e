// Independent pieces of work on all of OpenMP's threads.
#pragma once

#include <cstddef>
#include <functional>

namespace mambac {

/// Calls work(i) for each i below `count`, in any order and several at a time. When some fail, the others are done all
/// the same, and what the one with the lowest i threw is thrown.
void for_each_in_parallel(size_t count, const std::function<void(size_t)>& work);

}  // namespace mambac
