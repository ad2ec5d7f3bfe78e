// Lanes as threads: what a kernel needs before each lane of a task runs as a thread of a GPU.
//
//   spaces    arrays of uniform values, which all threads would fill alike, are shared by them, as long as they fit;
//             where sums of groups of lanes do not, all lanes are summed at once
//   spread    loops over uniform values: each iteration goes to one thread. Teams (loop::Stage::teams) are left alone:
//             what they store is their own, but for what each iteration of a loop that they share out stores for itself
//   copies    where the schedule says so: what whole tiles stage is copied into shared memory, some tiles before
//   ahead     where the schedule says so: what a whole tile loads of memory, a tile before
//   barriers  between what one thread stores and another loads, or the other way round
//   banks     what lanes of one channel read at the same time lies in different banks of shared memory
//   begin     where the schedule says so: a task waits for the kernels before, and brings parameters near meanwhile
//
// A uniform value outside such loops is computed by every thread; the first one stores it.
#pragma once

#include <cstdint>

#include "codegen/loop_ir.h"

namespace mambac {

/// Of memory that a GPU reads at once.
constexpr int64_t kLineBytes = 128;

/// `shared_bytes`: the shared memory that the arrays of a task may take.
loop::Kernel for_threads(loop::Kernel kernel, int64_t shared_bytes);

/// The parts of the above, for one stage whose tasks have `width` threads.
int64_t share_arrays(loop::Stage& stage, int width, int64_t shared_bytes);  // returns the bytes that are left
void spread_loops(loop::Stage& stage);
void copy_tiles_ahead(const loop::Kernel& kernel, loop::Stage& stage, int64_t shared_bytes);
void fetch_tiles_ahead(const loop::Kernel& kernel, loop::Stage& stage);
void spread_over_banks(loop::Stage& stage);
void place_barriers(loop::Stage& stage, int width);
void begin_early(const loop::Kernel& kernel, loop::Stage& stage);

}  // namespace mambac
