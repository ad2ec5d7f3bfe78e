// Kernels written by hand in the vocabulary of codegen/cuda/device_header.h, for tests of both of its headers.
#pragma once

namespace mambac::test {

/// y = x * x in another type; the last block is not full.
inline constexpr const char* kSquare = R"(
MB_KERNEL(64, 1) square(MB_IN(float) x, MB_OUT(mb_bf16) y, mb_long count) {
  const mb_long i = mb_task() * 64 + mb_lane();
  if (i < count) mb_store(y, i, mb_load(x, i) * mb_load(x, i));
}
)";

/// Sums and maxima of rows, a row per block; and of eighths of each warp.
inline constexpr const char* kReduce = R"(
MB_KERNEL(128, 2) reduce(MB_IN(float) x, MB_OUT(float) sums, MB_OUT(float) maxima, MB_OUT(float) eighths,
                         mb_long length) {
  float sum = 0.f, maximum = -MB_INFINITY;
  for (mb_long i = mb_lane(); i < length; i += 128) {
    const float v = mb_load(x, mb_task() * length + i);
    sum += v;
    maximum = mb_max(maximum, v);
  }
  const float eighth = mb_sum<4>(sum);
  sum = mb_sum<128>(sum);
  maximum = mb_amax<128>(maximum);
  if (mb_lane() == 0) mb_store(sums, mb_task(), sum);
  if (mb_lane() == 127) mb_store(maxima, mb_task(), maximum);
  mb_store(eighths, mb_task() * 128 + mb_lane(), eighth);
}
)";

/// Tiles of 32 x 32, transposed; two tiles per block, so that the second waits for the first to be read.
inline constexpr const char* kTranspose = R"(
MB_KERNEL(128, 1) transpose(MB_IN(float) x, MB_OUT(float) y, mb_long rows, mb_long columns) {
  MB_SHARED(float, tile, 32 * 33);
  const int column = mb_lane() % 32, row = mb_lane() / 32;
  for (mb_long top = 0; top < rows; top += 32) {
    const mb_long left = mb_task() * 32;
    for (int r = row; r < 32; r += 4) tile[r * 33 + column] = mb_load(x, (top + r) * columns + left + column);
    __syncthreads();
    for (int r = row; r < 32; r += 4) mb_store(y, (left + r) * rows + top + column, tile[column * 33 + r]);
    __syncthreads();
  }
}
)";

/// h = a * h + b over time, a thread per channel; what all channels share is staged 16 steps at a time.
inline constexpr const char* kScan = R"(
MB_KERNEL(64, 1) scan(MB_IN(mb_bf16) x, MB_IN(float) c, MB_OUT(float) y, mb_long length, mb_long channels) {
  MB_SHARED(float, shared_c, 16 * 4);
  MB_LOCAL(float, h, 4);
  const mb_long d = mb_task() * 64 + mb_lane();
  for (int n = 0; n < 4; ++n) h[n] = 0.f;
  for (mb_long tile = 0; tile < length; tile += 16) {
    __syncthreads();
    if (mb_lane() < 16) {
      float four[4];
      mb_load_block<4>(four, c, (tile + mb_lane()) * 4);
      mb_store_block<4>(shared_c, mb_lane() * 4, four);
    }
    __syncthreads();
    for (int t = 0; t < 16; ++t) {
      const float v = mb_load(x, (tile + t) * channels + d);
      float sum = 0.f;
      for (int n = 0; n < 4; ++n) {
        h[n] = mb_exp(-0.125f * (float)(n + 1)) * h[n] + v * shared_c[t * 4 + n];
        sum += h[n];
      }
      mb_store(y, (tile + t) * channels + d, sum);
    }
  }
}
)";

/// A running sum over tiles of 256 that are fetched one ahead.
inline constexpr const char* kStaged = R"(
MB_KERNEL(64, 1) staged(MB_IN(float) x, MB_OUT(float) y, mb_long tiles) {
  MB_SHARED(float, stage, 2 * 256);
  const int lane = mb_lane();
  mb_copy_async16(stage, lane * 4, x, lane * 4);
  mb_copy_commit();
  float sum = 0.f;
  for (mb_long t = 0; t < tiles; ++t) {
    const int side = (int)(t % 2) * 256, other = 256 - side;
    if (t + 1 < tiles) mb_copy_async16(stage, other + lane * 4, x, (t + 1) * 256 + lane * 4);
    mb_copy_commit();
    mb_copy_wait<1>();
    __syncthreads();
    for (int i = 0; i < 4; ++i) sum += stage[side + (lane + 64 * i + 5) % 256];
    __syncthreads();
    mb_store(y, t * 64 + lane, sum);
  }
}
)";

/// Sums over 32 and 16 threads of 8 values each, and a whole square of them.
inline constexpr const char* kScatter = R"(
MB_KERNEL(64, 1) scatter(MB_IN(float) x, MB_OUT(float) warps, MB_OUT(float) halves, MB_OUT(float) squares) {
  float v[8], w[8];
  MB_LOCAL(float, square, 32);
  mb_load_block<8>(v, x, mb_lane() * 32);
  for (int k = 0; k < 8; ++k) w[k] = v[k];
  for (int k = 0; k < 32; k += 16) mb_load_block<16>(square + k, x, mb_lane() * 32 + k);
  mb_reduce_scatter<8, 32>(v);
  mb_reduce_scatter<8, 16>(w);
  mb_reduce_scatter<32, 32>(square);
  mb_store(warps, mb_lane(), v[0]);
  mb_store(halves, mb_lane(), w[0]);
  mb_store(squares, mb_lane(), square[0]);
}
)";

/// h = a * h + b along the threads: of a block, and of 8 threads each; and the values of the threads before.
inline constexpr const char* kPairs = R"(
MB_KERNEL(128, 1) pairs(MB_IN(float) a, MB_IN(float) b, MB_OUT(float) whole, MB_OUT(float) eights, MB_OUT(float) before) {
  const mb_long i = mb_task() * 128 + mb_lane();
  float a0 = mb_load(a, i), b0 = mb_load(b, i), a1 = a0, b1 = b0;
  mb_scan_pairs<128>(a0, b0);
  mb_scan_pairs<8>(a1, b1);
  mb_store(whole, i, a0 * 3.f + b0);
  mb_store(eights, i, a1 * 3.f + b1);
  mb_store(before, 2 * i, mb_shift_up<128>(b0, -1.f));
  mb_store(before, 2 * i + 1, mb_shift_up<8>(b1, -2.f));
}
)";

/// All element types, one by one and in blocks of each size, from memory to shared memory and back.
inline constexpr const char* kTypes = R"(
MB_KERNEL(32, 1) types(MB_IN(float) x, MB_OUT(mb_bf16) b, MB_OUT(mb_f16) h, MB_OUT(int) i, MB_OUT(unsigned char) u,
                       MB_OUT(float) y) {
  MB_SHARED(mb_f16, halves, 32 * 16);
  const int at = mb_lane() * 16;
  float v[16], w[16];
  mb_load_block<16>(v, x, at);
  mb_store_block<16>(b, at, v);
  mb_store_block<8>(h, at, v);
  mb_store_block<8>(h, at + 8, v + 8);
  mb_store_block<2>(i, at, v);
  for (int k = 2; k < 16; ++k) mb_store(i, at + k, v[k]);
  mb_store_block<16>(u, at, v);
  mb_store_block<16>(halves, at, v);
  __syncthreads();
  const int next = (mb_lane() + 1) % 32 * 16;
  mb_load_block<4>(w, halves, next);
  for (int k = 4; k < 16; ++k) w[k] = mb_load(halves, next + k);
  for (int k = 0; k < 16; ++k) w[k] += mb_load(b, at + k) + mb_load(u, at + k) + mb_load(i, at + k);
  mb_store_block<16>(y, at, w);
}
)";

/// Each elementary function of x, one after the other, and of pairs (x, z).
inline constexpr const char* kElementary = R"(
MB_KERNEL(32, 1) elementary(MB_IN(float) x, MB_IN(float) z, MB_OUT(float) y, mb_long count) {
  for (mb_long i = mb_task() * 32 + mb_lane(); i < count; i += 32 * 64) {
    const float v = mb_load(x, i), w = mb_load(z, i);
    mb_store(y, i, mb_exp(v));
    mb_store(y, count + i, mb_exp2(v));
    mb_store(y, 2 * count + i, mb_exp2_poly(v));
    mb_store(y, 3 * count + i, mb_log(v));
    mb_store(y, 4 * count + i, mb_sqrt(v));
    mb_store(y, 5 * count + i, mb_rsqrt(v));
    mb_store(y, 6 * count + i, mb_sigmoid(v));
    mb_store(y, 7 * count + i, mb_tanh(v));
    mb_store(y, 8 * count + i, mb_softplus(v));
    mb_store(y, 9 * count + i, mb_sin(v));
    mb_store(y, 10 * count + i, mb_cos(v));
    mb_store(y, 11 * count + i, mb_abs(v));
    mb_store(y, 12 * count + i, mb_max(v, w));
    mb_store(y, 13 * count + i, mb_min(v, w));
    mb_store(y, 14 * count + i, mb_div(v, w));
  }
}
)";

inline constexpr const char* kCudaKernels[] = {kSquare,  kReduce, kTranspose, kScan,      kStaged,
                                               kScatter, kPairs,  kTypes,     kElementary};

}  // namespace mambac::test
