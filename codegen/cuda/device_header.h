// The texts that stand before generated CUDA C++: one for NVRTC, and its twin for the host's compiler.
//
// Both offer one vocabulary. T is float, mb_bf16, mb_f16, int or unsigned char; indices count elements.
//
//   MB_KERNEL(threads, blocks_per_sm) name(MB_IN(float) x, MB_OUT(mb_bf16) y, mb_long B) { ... }
//     A kernel; threads: of a block, a multiple of 32. Buffers do not overlap, but that an MB_OUT_PLACE(T) may lie
//     where an MB_IN_PLACE(T) does, whose elements are read before the same ones are stored.
//     x + i is the buffer from its element i on.
//   MB_SHARED(T, name, count), MB_LOCAL(T, name, count)
//     An array of the block, aligned to 16 bytes, or of the thread. Both are indexed: name[i].
//   mb_min_int(i, j), mb_max_int(i, j)
//   mb_lane()   number of the thread in its block (int)       mb_task()  number of the block (mb_long)
//   __syncthreads();  the barrier of a block
//   mb_await_kernels()  Every thread of a kernel that begins early comes here first; after it, kernels before this one
//     are done, and what they stored is there. Until then nothing but mb_prefetch may touch memory.
//   mb_load(p, i), mb_store(p, i, value)
//     An element of a buffer or a shared array, as f32. Narrow floats are rounded to nearest even, integers towards 0.
//   mb_take(local, at, p, i)   local[at] = the element i of a buffer, as it lies there; mb_load(local, at) widens it
//   mb_clear(local, at)        local[at] = 0
//   mb_prefetch(p, i)          the element i of a buffer will be loaded soon
//   mb_load_int(p, i)   an element of a buffer of int or unsigned char, as int
//   mb_load_block<C>(float* out, p, i), mb_store_block<C>(p, i, const float* in)
//     C (2, 4, 8, 16) neighbours in the widest accesses there are; element i lies at a multiple of min(16, C * bytes).
//   mb_exp mb_exp2 mb_exp2_poly mb_exp2_mixed mb_log mb_sqrt mb_rsqrt mb_sigmoid mb_tanh mb_softplus mb_sin mb_cos
//   mb_abs mb_max mb_min mb_div, MB_INFINITY
//     Relative errors of some 2e-7, with exponentials |x| * 8e-8 more; results below 2^-126 are 0 in exponentials
//     and sigmoids. mb_exp2_poly: the same as mb_exp2, on the FMA pipes; mb_exp2_mixed: either, by the step.
//   mb_sum<W>(v), mb_amax<W>(v)
//     Over W consecutive threads (a power of two), the result in all of them. W <= 32: all threads of the warp come
//     together, and halves are folded onto each other, as in the loop IR. W > 32: W is the size of the block; warps are
//     folded first. None of these orders accesses to the caller's shared arrays: that takes a barrier.
//   mb_of_piece<P>(v, piece)   the v of thread number `piece` of each P consecutive ones. P as W in mb_sum
//   mb_reduce_scatter<K, W, S = 1>(float (&v)[K])
//     K <= W <= 32, powers of two. On return v[0] of thread l is the sum over its W threads of their v[l % K]; the rest
//     of v is spent. K - 1 + log2(W / K) shuffles. Threads are folded at distances K/2, K/4, ..., 1, then K, 2K, ...,
//     W/2.
//   mb_scan_pairs<W>(float& a, float& b)
//     The maps h -> a * h + b of W consecutive threads, each composed with all before it. W as in mb_sum. What a leaves
//     of a 0 is 0, and so it is where a is no number.
//   mb_shift_up<W>(v, fill)    the value of the thread before; fill in the first of each W
//   mb_copy_async16(shared, i, p, j)   16 bytes from p[j] to shared[i], which appear for this thread after mb_copy_wait
//   mb_copy_commit()                   closes a group of copies
//   mb_copy_wait<k>()                  waits for all groups but the last k; other threads see them after a barrier
#pragma once

#include <string_view>

namespace mambac {

/// CUDA C++17 without any include, for compute capability 7.5 and later.
std::string_view cuda_device_header();

/// The same vocabulary in C++17 for the host, checked; see codegen/cuda/emulation_abi.h for what it asks of its
/// runtime. After the kernels come lines MB_EMULATED_BEGIN, one MB_EMULATED(name, threads, "x,y,B") per kernel,
/// MB_EMULATED_END.
std::string_view cuda_emulation_header();

/// What stands between either header and kernels that are calls of library kernels: see codegen/cuda/library.cuh.
std::string_view cuda_library_text();

}  // namespace mambac
