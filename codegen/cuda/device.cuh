// What generated CUDA C++ stands on; the vocabulary is described in codegen/cuda/device_header.h.

#define MB_KERNEL(threads, blocks_per_sm) extern "C" __global__ void __launch_bounds__(threads, blocks_per_sm)
#define MB_IN(T) const T* __restrict__
#define MB_OUT(T) T* __restrict__
#define MB_IN_PLACE(T) const T*
#define MB_OUT_PLACE(T) T*
#define MB_SHARED(T, name, count) __shared__ __align__(16) T name[count]
#define MB_LOCAL(T, name, count) T name[count]

MB_FN int mb_lane() { return (int)threadIdx.x; }
MB_FN mb_long mb_task() { return (mb_long)blockIdx.x; }

// Kernels behind this one may begin as soon as all of its blocks have; they wait in their turn.
MB_FN void mb_await_kernels() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" : : : "memory");
#endif
}

// ---- primitives -----------------------------------------------------------------------------------------------------

MB_FN unsigned mb_bits(float x) { return __float_as_uint(x); }
MB_FN float mb_number(unsigned bits) { return __uint_as_float(bits); }
MB_FN float mb_fma(float x, float y, float z) { return __fmaf_rn(x, y, z); }
MB_FN float mb_abs(float x) { return fabsf(x); }
MB_FN float mb_floor_onto(float x, float big) { return __fadd_rd(x, big); }

// Within 2 units of the last place over the whole range of numbers.
MB_FN float mb_div(float x, float y) {
  float z;
  asm("div.full.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}
MB_FN float mb_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

MB_FN float mb_reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

MB_FN float mb_sqrt(float x) {
  float y;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

MB_FN float mb_rsqrt(float x) {
  float y;
  asm("rsqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

MB_FN float mb_max(float x, float y) {
#if __CUDA_ARCH__ >= 800
  float z;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
#else
  return x != x ? x : x > y ? x : y;
#endif
}

MB_FN float mb_min(float x, float y) {
#if __CUDA_ARCH__ >= 800
  float z;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
#else
  return x != x ? x : x < y ? x : y;
#endif
}

// ---- element types: by their bits, in the low end of a word ---------------------------------------------------------

MB_FN float mb_widen(unsigned bits, const float*) { return mb_number(bits); }
MB_FN float mb_widen(unsigned bits, const mb_bf16*) { return mb_number(bits << 16); }
MB_FN float mb_widen(unsigned bits, const mb_f16*) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"((unsigned short)bits));
  return x;
}
MB_FN float mb_widen(unsigned bits, const int*) { return (float)(int)bits; }
MB_FN float mb_widen(unsigned bits, const unsigned char*) { return (float)bits; }

MB_FN unsigned mb_narrow(float x, const float*) { return mb_bits(x); }
MB_FN unsigned mb_narrow(float x, const mb_bf16*) {
#if __CUDA_ARCH__ >= 800
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
#else
  // Half a unit of the last kept place is added (one less when that place is even) and the rest cut.
  const unsigned bits = mb_bits(x), high = bits >> 16;
  return x != x ? high | 0x40u : (bits + 0x7fffu + (high & 1u)) >> 16;
#endif
}
MB_FN unsigned mb_narrow(float x, const mb_f16*) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
MB_FN unsigned mb_narrow(float x, const int*) { return (unsigned)(int)x; }
MB_FN unsigned mb_narrow(float x, const unsigned char*) { return (unsigned)(int)x & 0xffu; }

template <class T>
MB_FN unsigned mb_narrow_pair(float low, float high, const T* type) {
  return mb_narrow(low, type) | mb_narrow(high, type) << 16;
}
#if __CUDA_ARCH__ >= 800
MB_FN unsigned mb_narrow_pair(float low, float high, const mb_bf16*) {
  unsigned bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}
MB_FN unsigned mb_narrow_pair(float low, float high, const mb_f16*) {
  unsigned bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}
#endif

MB_FN unsigned mb_raw(float x) { return mb_bits(x); }
MB_FN unsigned mb_raw(mb_bf16 x) { return x.bits; }
MB_FN unsigned mb_raw(mb_f16 x) { return x.bits; }
MB_FN unsigned mb_raw(int x) { return (unsigned)x; }
MB_FN unsigned mb_raw(unsigned char x) { return x; }

MB_FN void mb_put_raw(float* to, unsigned bits) { *to = mb_number(bits); }
MB_FN void mb_put_raw(mb_bf16* to, unsigned bits) { to->bits = (unsigned short)bits; }
MB_FN void mb_put_raw(mb_f16* to, unsigned bits) { to->bits = (unsigned short)bits; }
MB_FN void mb_put_raw(int* to, unsigned bits) { *to = (int)bits; }
MB_FN void mb_put_raw(unsigned char* to, unsigned bits) { *to = (unsigned char)bits; }

// ---- memory ---------------------------------------------------------------------------------------------------------

template <class T, class I>
MB_FN float mb_load(const T* p, I i) { return mb_widen(mb_raw(p[i]), p); }

template <class T, class I, class J>
MB_FN void mb_take(T* to, I at, const T* p, J i) { to[at] = p[i]; }

template <class T, class I>
MB_FN void mb_clear(T* to, I at) { to[at] = T(); }

template <class T, class I>
MB_FN void mb_prefetch(const T* p, I i) { asm volatile("prefetch.global.L2 [%0];" : : "l"(p + i)); }

template <class T, class I>
MB_FN int mb_load_int(const T* p, I i) { return (int)p[i]; }

template <class T, class I>
MB_FN void mb_store(T* p, I i, float value) { mb_put_raw(p + i, mb_narrow(value, p)); }

template <int Bytes>
MB_FN void mb_fetch(unsigned (&words)[4], const void* from) {
  if constexpr (Bytes == 16) {
    const uint4 w = *(const uint4*)from;
    words[0] = w.x, words[1] = w.y, words[2] = w.z, words[3] = w.w;
  } else if constexpr (Bytes == 8) {
    const uint2 w = *(const uint2*)from;
    words[0] = w.x, words[1] = w.y;
  } else if constexpr (Bytes == 4) {
    words[0] = *(const unsigned*)from;
  } else {
    static_assert(Bytes == 2, "2, 4, 8 or 16 bytes");
    words[0] = *(const unsigned short*)from;
  }
}

template <int Bytes>
MB_FN void mb_put_words(void* to, const unsigned (&words)[4]) {
  if constexpr (Bytes == 16) *(uint4*)to = make_uint4(words[0], words[1], words[2], words[3]);
  else if constexpr (Bytes == 8) *(uint2*)to = make_uint2(words[0], words[1]);
  else if constexpr (Bytes == 4) *(unsigned*)to = words[0];
  else *(unsigned short*)to = (unsigned short)words[0];
}

template <int C, class T, class I>
MB_FN void mb_load_block(float* out, const T* p, I i) {
  constexpr int all = C * (int)sizeof(T), each = all < 16 ? all : 16, elements = each / (int)sizeof(T);
#pragma unroll
  for (int part = 0; part < all / each; ++part) {
    unsigned words[4];
    mb_fetch<each>(words, p + i + part * elements);
#pragma unroll
    for (int e = 0; e < elements; ++e) {
      const unsigned word = words[e * (int)sizeof(T) / 4] >> e * (int)sizeof(T) % 4 * 8;
      out[part * elements + e] = mb_widen(sizeof(T) == 4 ? word : word & ((1u << sizeof(T) % 4 * 8) - 1u), p);
    }
  }
}

template <int C, class T, class I>
MB_FN void mb_store_block(T* p, I i, const float* in) {
  constexpr int all = C * (int)sizeof(T), each = all < 16 ? all : 16, elements = each / (int)sizeof(T);
#pragma unroll
  for (int part = 0; part < all / each; ++part) {
    unsigned words[4] = {0u, 0u, 0u, 0u};
    const float* from = in + part * elements;
#pragma unroll
    for (int e = 0; e < elements; ++e) {
      if constexpr (sizeof(T) == 2) {
        if (e % 2 == 0) words[e / 2] = mb_narrow_pair(from[e], from[e + 1], p);
      } else {
        words[e * (int)sizeof(T) / 4] |= mb_narrow(from[e], p) << e * (int)sizeof(T) % 4 * 8;
      }
    }
    mb_put_words<each>(p + i + part * elements, words);
  }
}

template <class T, class I, class J>
MB_FN void mb_copy_async16(T* shared, I i, const T* p, J j) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
               : : "r"((unsigned)__cvta_generic_to_shared(shared + i)), "l"(p + j) : "memory");
#else
  *(uint4*)(shared + i) = *(const uint4*)(p + j);
#endif
}

MB_FN void mb_copy_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" : : : "memory");
#endif
}

template <int Last>
MB_FN void mb_copy_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" : : "n"(Last) : "memory");
#endif
}

// ---- between threads ------------------------------------------------------------------------------------------------

// All threads of a warp come to a shuffle together, whatever the width: a mask of fewer would cost an instruction each.
#define MB_WARP 0xffffffffu

template <int W, bool Sum>
MB_FN float mb_fold(float v) {
  if constexpr (W <= 32) {
#pragma unroll
    for (int distance = W / 2; distance > 0; distance /= 2) {
      const float other = __shfl_xor_sync(MB_WARP, v, distance);
      v = Sum ? v + other : mb_max(v, other);
    }
    return v;
  } else {
    __shared__ float parts[W / 32];
    v = mb_fold<32, Sum>(v);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
    __syncthreads();
    v = parts[threadIdx.x % (W / 32)];
    __syncthreads();  // the next call writes parts
    return mb_fold<W / 32, Sum>(v);
  }
}

template <int W>
MB_FN float mb_sum(float v) { return mb_fold<W, true>(v); }

template <int W>
MB_FN float mb_amax(float v) { return mb_fold<W, false>(v); }

// Threads whose number has the bit Half keep the upper half of Half * 2 values and send the lower one, others the other
// way round. Recursion instead of a loop over halves: that one is not written out, and v would lie in local memory.
template <int Half, int S, int K>
MB_FN void mb_scatter_halves(float (&v)[K]) {
  if constexpr (Half > 0) {
    const bool upper = threadIdx.x & Half * S;
#pragma unroll
    for (int i = 0; i < Half; ++i) {
      const float kept = upper ? v[i + Half] : v[i], sent = upper ? v[i] : v[i + Half];
      v[i] = kept + __shfl_xor_sync(MB_WARP, sent, Half * S);
    }
    mb_scatter_halves<Half / 2, S>(v);
  }
}

template <int K, int W, int S = 1>
MB_FN void mb_reduce_scatter(float (&v)[K]) {
  static_assert(K <= W && W * S <= 32, "as many threads as values, within a warp");
  mb_scatter_halves<K / 2, S>(v);
#pragma unroll
  for (int distance = K; distance < W; distance *= 2) v[0] += __shfl_xor_sync(MB_WARP, v[0], distance * S);
}

template <int P>
MB_FN float mb_of_piece(float v, int piece) {
  if constexpr (P <= 32) {
    return __shfl_sync(MB_WARP, v, piece, P);
  } else {
    __shared__ float handed_out;
    if (threadIdx.x == piece) handed_out = v;
    __syncthreads();
    v = handed_out;
    __syncthreads();  // the next call writes it
    return v;
  }
}

template <int W>
MB_FN void mb_scan_pairs(float& a, float& b) {
  constexpr int width = W < 32 ? W : 32;
  const unsigned place = threadIdx.x % width;
#pragma unroll
  for (int distance = 1; distance < width; distance *= 2) {
    const float before_a = __shfl_up_sync(MB_WARP, a, distance, width);
    const float before_b = __shfl_up_sync(MB_WARP, b, distance, width);
    if (place >= distance) b = mb_mapped(a, b, before_b), a *= before_a;
  }
  if constexpr (W > 32) {
    constexpr unsigned warps = W / 32;
    __shared__ float whole_a[warps], whole_b[warps];
    const unsigned warp = threadIdx.x / 32;
    if (place == 31) whole_a[warp] = a, whole_b[warp] = b;
    __syncthreads();
    float before_a = whole_a[place % warps], before_b = whole_b[place % warps];
    __syncthreads();  // the next call writes them
    mb_scan_pairs<(int)warps>(before_a, before_b);
    before_a = __shfl_sync(MB_WARP, before_a, warp - 1u);
    before_b = __shfl_sync(MB_WARP, before_b, warp - 1u);
    if (warp > 0) b = mb_mapped(a, b, before_b), a *= before_a;
  }
}

template <int W>
MB_FN float mb_shift_up(float v, float fill) {
  constexpr int width = W < 32 ? W : 32;
  float before = __shfl_up_sync(MB_WARP, v, 1, width);
  if constexpr (W > 32) {
    __shared__ float last[W / 32];
    if (threadIdx.x % 32 == 31) last[threadIdx.x / 32] = v;
    __syncthreads();
    if (threadIdx.x % 32 == 0 && threadIdx.x > 0) before = last[threadIdx.x / 32 - 1];
    __syncthreads();  // the next call writes last
  }
  return threadIdx.x % W == 0 ? fill : before;
}
